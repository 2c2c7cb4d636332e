"""The operations of a step on PyTorch."""
