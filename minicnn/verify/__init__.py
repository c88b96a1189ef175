"""Proof that numbers are right: gradients by finite differences, layers against another program."""
