"""What the predictions are worth (section 4)."""
