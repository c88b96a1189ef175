"""Where models come from and go to: PyTorch, and other libraries."""
