"""Training: the trainer, its checkpoints, and what it shows while it works."""
