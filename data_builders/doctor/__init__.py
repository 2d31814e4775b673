"""Checks a copy of a database against the paper's composite: `atnet doctor …`."""
