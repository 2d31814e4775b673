"""The verb `prepare`."""

import sys

from absl import app, flags, logging

from atnet_jax.errors import UserError
from atnet_jax.names import DATASETS
from atnet_jax.preprocessing.face import DETECTORS
from atnet_jax.preprocessing.optical_flow import DEFAULT as DEFAULT_FLOW
from atnet_jax.preprocessing.optical_flow import METHODS
from data_builders.prepare import prepare

_INTERRUPTED = 130


def _define_flags() -> None:
    flags.DEFINE_enum("dataset", None, DATASETS, "The database to prepare.", required=True)
    flags.DEFINE_string("manual_dir", None, "Your copy of the database.", required=True)
    flags.DEFINE_string("data_dir", None, "Where the prepared data go.", required=True)
    flags.DEFINE_enum("face", "mtcnn", DETECTORS, "Face detector; none: frames are cropped.")
    flags.DEFINE_string("boxes", None, "CSV file of face boxes, which replace the detector's.")
    flags.DEFINE_enum("flow", None, METHODS, f"Optical flow method; default: {DEFAULT_FLOW}.")
    flags.DEFINE_bool("circular", False, "Circular instead of arithmetic mean directions.")
    flags.DEFINE_bool("cancel_alternation", False, "Take odd frames' displacement out (SMIC).")
    flags.DEFINE_bool("remove_head_motion", False, "Take the motion of the whole face out.")
    flags.DEFINE_integer("num_workers", None, "Number of processes; default: one for each CPU.")
    flags.DEFINE_string("beam_runner", None, "Apache Beam runner, for more than one machine.")
    flags.DEFINE_list("beam_options", [], "Options of the runner: name=value,name=value.")


def main(arguments: list[str]) -> int:
    """Runs the command line."""
    if len(arguments) > 1:
        print(f"unexpected argument {arguments[1]!r}; options start with --", file=sys.stderr)
        return 1
    values = flags.FLAGS
    # TFDS tells at length what it writes where.
    logging.set_verbosity(logging.WARNING)
    try:
        prepare(
            values.dataset,
            values.manual_dir,
            values.data_dir,
            values.face,
            values.boxes,
            values.flow,
            values.circular,
            values.cancel_alternation,
            values.remove_head_motion,
            values.num_workers,
            values.beam_runner,
            values.beam_options,
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted; nothing was published, but the same command goes on from here",
            file=sys.stderr,
        )
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    _define_flags()
    app.run(main)
