"""The course: learn how backpropagation works by writing it.

lessons/      one short text for each layer, with formulas, pictures and code that runs, in texts/; and what makes pages
              and notebooks of them
exercises/    files with functions to be written, made out of the framework's own
mistakes/     wrong versions of these functions, and the question that leads out of each
grader/       whether what was written is right, and if not, which mistake it is
practice/     the learner's folder; what was written, in a network that trains
symptoms/     ten training runs in which something is wrong, to be diagnosed from their curves
worksheets/   small cases to be computed with a pencil

classroom/    for teachers: a class set, and the marks of many submissions
page/         the style of pages
"""
