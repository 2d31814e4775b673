"""Metrics, statistics and reports of predictions."""
