"""`python -m minicnn`, the same as the program `minicnn`."""

from minicnn.cli import main

main()
