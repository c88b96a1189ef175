"""The cpu backend on AArch64, where there is no such machine: QEMU runs it, and every operation is held against
`reference`. `python -m tests.aarch64` does all of it."""
