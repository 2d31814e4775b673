"""Names with a meaning: classes, databases, and ways to prepare and read a clip.

This file imports nothing, so that a command can list what it accepts at once.
"""

# A label is an index into them.
CLASSES = ("negative", "positive", "surprise")

# No database can have such a name: "full" is the pooled score of all databases, the others stand
# beside the databases' scores in a metrics file.
RESERVED_NAMES = frozenset({"full", "model", "protocol", "seed"})

# Databases, each with a builder of this name in data_builders; "manifest" and "image_folder" are
# forms in which clips and pictures of one's own are given.
MICRO_EXPRESSIONS = ("casme2", "samm", "smic", "manifest")
MACRO_EXPRESSIONS = ("ck_plus", "oulu_casia", "jaffe", "mug", "image_folder")
DATASETS = (*MICRO_EXPRESSIONS, *MACRO_EXPRESSIONS)

DETECTORS = ("mtcnn", "none")
"""Face detectors; "none": frames are cropped to the face already."""

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

CAFFE_MODELS = ("fusion", "spatial", "micro_attention")
"""Networks whose layers a .caffemodel can fill: those with a spatial stream."""

SYNTHETIC = tuple(name for name in DATASETS if name not in ("manifest", "image_folder"))
"""Databases that can be rendered."""
