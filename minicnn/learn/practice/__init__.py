"""The learner's folder, and what was written there in a network that trains."""
