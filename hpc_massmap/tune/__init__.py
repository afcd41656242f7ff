"""Tuning: equal workers that share one MongoDB trials database."""
