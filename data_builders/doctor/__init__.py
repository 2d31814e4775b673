"""Check of a database's copy against the paper's composite: `atnet doctor …`."""
