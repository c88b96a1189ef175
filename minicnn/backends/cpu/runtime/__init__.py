"""What compiles and runs the kernels, and the memory that they use again."""
