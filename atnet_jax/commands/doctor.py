"""Checks a copy of a database, or prepared data, against the paper's composite.

Give either --manual_dir and --dataset, for a raw copy, or --data_dir, for prepared data. The exit
status is 0 only if there is no error; warnings do not count.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path
from atnet_jax.names import DEFAULT_FLOW, DETECTORS, MICRO_EXPRESSIONS


def add_arguments(parser: Parser) -> None:
    """Defines the options."""
    add = parser.option
    add("--data_dir", type=path, metavar="FOLDER", help="Prepared data.")
    add("--manual_dir", type=path, metavar="FOLDER", help="Your copy of the database --dataset.")
    add("--dataset", choices=MICRO_EXPRESSIONS, help="Only this database.")
    add(
        "--face",
        default="mtcnn",
        choices=DETECTORS,
        help="For a raw copy; none prefers its cropped frames.",
    )
    add(
        "--flow",
        default=DEFAULT_FLOW,
        metavar="NAME",
        help="For prepared data: their optical flow, as config.data.flow.",
    )
    add(
        "--composite",
        type=path,
        metavar="FILE",
        dest="composite_list",
        help="CSV list of clips: dataset,subject,clip,label[,apex_frame_file].",
    )
    add("--compare", type=path, metavar="FILE", help="digests.csv of another copy.")
    add("--out", type=path, metavar="FOLDER", help="New folder for doctor.json and digests.csv.")
    add("--num_workers", type=int, metavar="N", help="Processes (default: one for each CPU).")


def run(given: Namespace) -> int:
    """Checks the data; 1 if there is an error in them."""
    from data_builders.doctor.diagnose import diagnose

    return 0 if diagnose(**vars(given)) else 1
