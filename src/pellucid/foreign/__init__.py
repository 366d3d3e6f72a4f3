"""Readers of models that were made elsewhere: Keras, ONNX and torch files become networks of torch modules."""
