"""The cuda backend, as far as it can be proven without a GPU, and on one where there is one."""
