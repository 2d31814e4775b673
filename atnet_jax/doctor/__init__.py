"""Checks a copy of a database against the paper's composite: `python -m atnet_jax.doctor …`."""
