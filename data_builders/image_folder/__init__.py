"""A set of one's own: a folder of pictures for each class."""
