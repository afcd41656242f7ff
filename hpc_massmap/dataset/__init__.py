"""The map file, its split, normalisation and batches."""
