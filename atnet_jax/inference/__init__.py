"""Applies trained networks to a user's own clips."""
