"""What each task's function is called with: functions of a random generator that yield cases, (label, arguments).

All numbers are float64. The small cases, which can be checked by hand, come first: where several are
wrong, the first is what a learner is shown.
"""
