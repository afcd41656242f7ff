"""Training (section 3.2): one step (learner), epochs (trainer), the whole (loop), its job (final)."""
