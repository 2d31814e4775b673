"""Import weights trained in Caffe.

The command reads a binary .caffemodel without Caffe and writes a folder of weights for
--config.init_from.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path
from atnet_jax.names import CAFFE_MODELS


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("--caffemodel", required=True, type=path, metavar="FILE", help="Binary .caffemodel file.")
    add("--model", required=True, choices=CAFFE_MODELS, help="Network that the weights belong to.")
    add("--out", required=True, type=path, metavar="FOLDER", help="New folder for the weights.")


def run(given: Namespace) -> None:
    """Import the weights; `given` holds the arguments."""
    from atnet_jax.weights.import_caffe import import_caffe

    print(import_caffe(given.caffemodel, given.model, given.out))
