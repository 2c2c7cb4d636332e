"""The operations of a step on TensorFlow."""
