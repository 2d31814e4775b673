"""Names with a meaning: the classes, the databases, and what no database can be called."""

# A label is an index into them.
CLASSES = ("negative", "positive", "surprise")

# No database can have such a name: "full" is the pooled score of all databases, the others stand
# beside the databases' scores in a metrics file.
RESERVED_NAMES = frozenset({"full", "model", "protocol", "seed"})
# The builders are imported by name, and only when needed: TFDS is slow to import, and every worker
# process imports this module.
MICRO_EXPRESSIONS = ("casme2", "samm", "smic", "manifest")
MACRO_EXPRESSIONS = ("ck_plus", "oulu_casia", "jaffe", "mug", "image_folder")
DATASETS = (*MICRO_EXPRESSIONS, *MACRO_EXPRESSIONS)
