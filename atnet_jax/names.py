"""Names that settings and files use: classes, databases, detectors, flow methods and spotters.

This module imports nothing, so that a command lists the names it accepts without delay.
"""

# A label is an index into this tuple.
CLASSES = ("negative", "positive", "surprise")

# No database may have one of these names: "full" is the pooled score of all databases, and a
# metrics file stores the other keys beside the databases' scores.
RESERVED_NAMES = frozenset({"full", "model", "protocol", "seed"})

# Each database has a builder of this name in data_builders. "manifest" and "image_folder" are the
# formats for the user's own clips and pictures.
MICRO_EXPRESSIONS = ("casme2", "samm", "smic", "manifest")
MACRO_EXPRESSIONS = ("ck_plus", "oulu_casia", "jaffe", "mug", "image_folder")
DATASETS = (*MICRO_EXPRESSIONS, *MACRO_EXPRESSIONS)

DETECTORS = ("mtcnn", "none")
"""Face detectors; "none" stands for frames that are already cropped to the face."""

FLOWS = (
    "spatiotemporal",
    "paper",
    "horn_schunck",
    "classic",
    "tv_l1",
    "farneback",
    "dis_ultrafast",
    "dis_fast",
    "dis",
    "dis_variational",
)
"""Optical flow methods; the first is the default."""
DEFAULT_FLOW = FLOWS[0]

SPOTTERS = ("flow", "lbp")
"""Methods that find expressions and apexes; the first is the default."""

SOURCES = ("order", "weights", "augmentation", "dropout")
"""Sources of randomness in a training."""

CAFFE_MODELS = ("fusion", "spatial", "micro_attention")
"""Networks that can load a .caffemodel: those with a spatial stream."""

SYNTHETIC = tuple(name for name in DATASETS if name not in ("manifest", "image_folder"))
"""Databases that `atnet synthetic` can render."""
