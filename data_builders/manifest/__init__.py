"""Clips, features and flow maps listed in a manifest."""
