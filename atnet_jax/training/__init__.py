"""Training of many folds at once."""
