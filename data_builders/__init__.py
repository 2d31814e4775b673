"""TFDS builders of the micro-expression databases and of a free-form manifest."""
