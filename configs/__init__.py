"""Ready-made configurations; atnet_jax/config.py explains every setting."""
