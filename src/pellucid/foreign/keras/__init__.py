"""Keras files (`.h5`, `.keras`) read without TensorFlow: container, configuration, layers, weights."""
