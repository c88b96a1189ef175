"""What pytest leaves alone: to look for doctests in a lesson would be to run it, which tests/test_lessons.py does."""

collect_ignore_glob = ["minicnn/learn/lessons/*"]
