"""Training: the loop, its ranks and its checkpoints (section 3.2)."""
