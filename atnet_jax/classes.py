"""Names with a meaning: the three classes of the paper, and what no database can be called."""

# A label is an index into them.
CLASSES = ("negative", "positive", "surprise")

# No database can have such a name: "full" is the pooled score of all databases, the others stand
# beside the databases' scores in a metrics file.
RESERVED_NAMES = frozenset({"full", "model", "protocol", "seed"})
