"""Apply trained networks to the user's own clips."""
