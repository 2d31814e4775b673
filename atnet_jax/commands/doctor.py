"""Check a copy of a database, or prepared data, against the paper's composite.

Pass --manual_dir and --dataset to check a raw copy, or --data_dir to check prepared data. The exit
status is 1 if any error is found; warnings do not affect it.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path
from atnet_jax.names import DEFAULT_FLOW, DETECTORS, MICRO_EXPRESSIONS


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("--data_dir", type=path, metavar="FOLDER", help="Folder of prepared data.")
    add("--manual_dir", type=path, metavar="FOLDER", help="Your copy of --dataset.")
    add("--dataset", choices=MICRO_EXPRESSIONS, help="Check only this database.")
    add(
        "--face",
        default="mtcnn",
        choices=DETECTORS,
        help="Face detector for a raw copy; none uses its cropped frames if there are any.",
    )
    add(
        "--flow",
        default=DEFAULT_FLOW,
        metavar="NAME",
        help="Optical flow of prepared data, a value of config.data.flow.",
    )
    add(
        "--composite",
        type=path,
        metavar="FILE",
        dest="composite_list",
        help="CSV list of the expected clips: dataset,subject,clip,label[,apex_frame_file].",
    )
    add("--compare", type=path, metavar="FILE", help="Compare with digests.csv of another copy.")
    add("--out", type=path, metavar="FOLDER", help="New folder for doctor.json and digests.csv.")
    add("--num_workers", type=int, metavar="N", help="Number of processes (default: one per CPU).")


def run(given: Namespace) -> int:
    """Check the data and return 1 if any error is found, otherwise 0."""
    from data_builders.doctor.diagnose import diagnose

    return 0 if diagnose(**vars(given)) else 1
