"""TFDS builders of expression databases, and of clips and pictures of one's own."""
