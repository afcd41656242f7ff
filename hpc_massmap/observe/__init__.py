"""What telescopes see of ideal maps: effects that are applied to views as batches are gathered."""
