"""Trained networks on clips of one's own."""
