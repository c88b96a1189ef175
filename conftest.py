"""What pytest leaves alone: to look for doctests in a lesson, a script, would be to run it; tests/test_lessons.py does."""

collect_ignore_glob = ["minicnn/learn/lessons/*"]
