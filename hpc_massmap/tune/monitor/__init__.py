"""A study seen from outside: read, summed up, shown."""
