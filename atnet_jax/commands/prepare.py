"""Prepare your copy of a database for training.

The command reads raw clips or pictures, finds faces and computes motion. It lists every skipped
clip with the reason. If it is interrupted, rerun it to resume with the remaining clips.
data_builders/DATASET/README.md describes the required layout of the copy.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, listed, path
from atnet_jax.names import DATASETS, DEFAULT_FLOW, DETECTORS, FLOWS


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("--dataset", required=True, choices=DATASETS, help="Database to prepare.")
    add(
        "--manual_dir",
        type=path,
        required=True,
        metavar="FOLDER",
        help="Your copy of the database.",
    )
    add(
        "--data_dir",
        type=path,
        required=True,
        metavar="FOLDER",
        help="Folder for the prepared data.",
    )
    add(
        "--face",
        default="mtcnn",
        choices=DETECTORS,
        help="Face detector; none if the frames are already cropped.",
    )
    add(
        "--boxes",
        type=path,
        metavar="FILE",
        help="CSV file of face boxes that replace the detector's boxes.",
    )
    add(
        "--leave_out",
        type=listed,
        default=[],
        metavar="SUBJECT/CLIP,…",
        help="Clips to leave out, such as one whose frames are lost.",
    )
    add("--flow", choices=FLOWS, help=f"Optical flow method (default: {DEFAULT_FLOW}).")
    add("--circular", action="store_true", help="Use circular mean directions in the ADM.")
    add(
        "--cancel_alternation",
        action="store_true",
        help="Remove the displacement between odd and even frames (SMIC).",
    )
    add("--remove_head_motion", action="store_true", help="Remove the motion of the whole face.")
    add("--num_workers", type=int, metavar="N", help="Number of processes (default: one per CPU).")
    add("--beam_runner", metavar="NAME", help="Apache Beam runner, to use more than one machine.")
    add(
        "--beam_options",
        type=listed,
        default=[],
        metavar="NAME=VALUE,…",
        help="Options of the Beam runner.",
    )


def run(given: Namespace) -> None:
    """Prepare the database; `given` holds the arguments."""
    from data_builders.prepare import prepare

    prepare(**vars(given))
