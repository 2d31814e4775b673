"""Benchmarks of training speed, optical flow, spotting and explanations."""
