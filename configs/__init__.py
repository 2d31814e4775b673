"""Ready-made experiments; every field is explained in atnet_jax/config.py."""
