"""Utilities independent of the paper: files, locks, processes, memory."""
