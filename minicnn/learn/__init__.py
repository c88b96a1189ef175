"""The course: learn how backpropagation works by writing it.

lessons/      one short text for each layer, with formulas, pictures and code that runs
exercises/    files with functions to be written, made out of the framework's own
mistakes/     wrong versions of these functions, and the question that leads out of each
grader/       whether what was written is right, and if not, which mistake it is
folder.py     the learner's folder
own.py        what was written, in a network that trains
symptoms/     ten training runs in which something is wrong, to be diagnosed from their curves
worksheets/   small cases to be computed with a pencil

For teachers:

export.py     a class set
marks.py      the marks of many submissions

Lessons made into something to look at:

lesson_files.py       which there are, and copies of them
lesson_run.py         one run, and what each cell gave
lesson_pages.py       pages, with the style in page/
lesson_notebooks.py   notebooks
figures.py        what lessons draw with
"""
