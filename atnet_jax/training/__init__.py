"""Training folds, many at once."""
