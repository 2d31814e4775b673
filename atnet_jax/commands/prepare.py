"""Prepares your copy of a database for training.

Reads raw clips or pictures, finds faces, computes motion, and lists every clip that it leaves out
with the reason. If it is interrupted, the same command resumes with the remaining clips.
data_builders/DATASET/README.md describes how the copy must be laid out.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, listed
from atnet_jax.names import DATASETS, DEFAULT_FLOW, DETECTORS, FLOWS


def add_arguments(parser: Parser) -> None:
    """Defines the options."""
    add = parser.option
    add("--dataset", required=True, choices=DATASETS, help="The database to prepare.")
    add("--manual_dir", required=True, metavar="FOLDER", help="Your copy of the database.")
    add("--data_dir", required=True, metavar="FOLDER", help="Where the prepared data go.")
    add(
        "--face",
        default="mtcnn",
        choices=DETECTORS,
        help="Face detector; none: frames are cropped already.",
    )
    add("--boxes", metavar="FILE", help="CSV file of face boxes, which replace the detector's.")
    add("--flow", choices=FLOWS, help=f"Optical flow method (default: {DEFAULT_FLOW}).")
    add("--circular", action="store_true", help="Use circular mean directions in the ADM.")
    add(
        "--cancel_alternation",
        action="store_true",
        help="Remove the displacement of odd frames against even ones (SMIC).",
    )
    add("--remove_head_motion", action="store_true", help="Remove the motion of the whole face.")
    add("--num_workers", type=int, metavar="N", help="Processes (default: one for each CPU).")
    add("--beam_runner", metavar="NAME", help="Apache Beam runner, for more than one machine.")
    add(
        "--beam_options",
        type=listed,
        default=[],
        metavar="NAME=VALUE,…",
        help="Options of the runner.",
    )


def run(given: Namespace) -> None:
    """Prepares the database."""
    from data_builders.prepare import prepare

    prepare(**vars(given))
