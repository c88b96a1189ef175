"""What tests start on several ranks are programs. They hold no tests, and mpi4py need not be there to collect these."""

collect_ignore = [
    "exactness.py",
    "killed.py",
    "mistakes.py",
    "one_run.py",
    "problems.py",
    "resumed.py",
    "slow_cable.py",
    "undisturbed.py",
]
