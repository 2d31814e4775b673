"""From predictions to metrics, statistics and reports."""
