"""What a network says of a map is a distribution: a kind of it a file, all behind one small interface."""
