"""What a trained model says: about the test set of its run, and about maps of a user's own."""
