"""JAFFE, the Japanese Female Facial Expression data set."""
