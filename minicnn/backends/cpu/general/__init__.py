"""How `general_conv` computes: `kernels`, by `taps` where the windows allow it and by the `plain` forms where not."""
