"""What pytest leaves alone when it looks for doctests.

To look into a lesson would be to run it, which tests/test_lessons.py does; comparison/pytorch.py imports PyTorch, which
need not be there, and has none.
"""

collect_ignore_glob = ["minicnn/learn/lessons/texts/*", "minicnn/verify/compare/pytorch.py"]
