"""The user's own set: a folder of pictures for each class."""
