"""The bundle: a trained model as a folder that needs only ONNX Runtime, NumPy and Pillow."""
