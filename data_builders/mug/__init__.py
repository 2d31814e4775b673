"""The MUG facial expression database."""
