"""TFDS builders for expression databases and for the user's own clips and pictures."""
