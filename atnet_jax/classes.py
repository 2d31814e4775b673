"""The three classes of the paper; a label is an index into them."""

CLASSES = ("negative", "positive", "surprise")
