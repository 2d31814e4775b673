"""Measurements: how fast the training and the features are, and what real flow maps give."""
