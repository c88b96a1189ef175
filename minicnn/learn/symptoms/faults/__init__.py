"""The ten faults, one a file: the code that is wrong, what its curves must show, and how to fix it."""
