"""The course: learn how backpropagation works by writing it.

lessons/      one short text for each layer, with formulas, pictures and code that runs
exercises/    files with functions to be written, made out of the framework's own
mistakes/     wrong versions of these functions, and the question that leads out of each
grader/       whether what was written is right, and if not, which mistake it is
folder.py     the learner's folder
symptoms/     ten training runs in which something is wrong, to be diagnosed from their curves
"""
