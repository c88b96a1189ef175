"""The course: learn how backpropagation works by writing it.

lessons/      one short text for each layer, with formulas, pictures and code that runs
symptoms/     ten training runs in which something is wrong, to be diagnosed from their curves
"""
