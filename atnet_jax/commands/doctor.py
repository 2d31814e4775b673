"""Checks a copy of a database: `atnet doctor --manual_dir=… --dataset=casme2`.

Or prepared data: `atnet doctor --data_dir=…`. The exit status is 0 only if there is
no error; warnings are told apart from errors.
"""

import sys
from pathlib import Path

from absl import app, flags, logging

from atnet_jax.errors import UserError
from atnet_jax.names import MICRO_EXPRESSIONS
from atnet_jax.preprocessing.face import DETECTORS
from atnet_jax.preprocessing.optical_flow import DEFAULT
from data_builders.doctor.diagnose import diagnose

_INTERRUPTED = 130


def _define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Prepared data.")
    flags.DEFINE_string("manual_dir", None, "Your copy of a database; --dataset says which.")
    flags.DEFINE_enum("dataset", None, MICRO_EXPRESSIONS, "Only this database.")
    flags.DEFINE_enum("face", "mtcnn", DETECTORS, "Of a copy: none prefers its cropped frames.")
    flags.DEFINE_string(
        "flow", DEFAULT, "Of prepared data: their optical flow, as config.data.flow."
    )
    flags.DEFINE_string(
        "composite", None, "CSV list: dataset,subject,clip,label[,apex_frame_file]."
    )
    flags.DEFINE_string("compare", None, "digests.csv of another copy.")
    flags.DEFINE_string("out", None, "Folder for doctor.json and digests.csv.")
    flags.DEFINE_integer("num_workers", None, "Number of processes; default: one for each CPU.")


def main(arguments: list[str]) -> int:
    """Runs the command line."""
    if len(arguments) > 1:
        print(f"unexpected argument {arguments[1]!r}; options start with --", file=sys.stderr)
        return 1
    values = flags.FLAGS
    logging.set_verbosity(logging.WARNING)

    def path(text: str | None) -> Path | None:
        return None if text is None else Path(text).expanduser()

    try:
        healthy = diagnose(
            data_dir=path(values.data_dir),
            manual_dir=path(values.manual_dir),
            dataset=values.dataset,
            face=values.face,
            flow=values.flow,
            composite_list=path(values.composite),
            compare=path(values.compare),
            out=path(values.out),
            num_workers=values.num_workers,
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return _INTERRUPTED
    return 0 if healthy else 1


if __name__ == "__main__":
    _define_flags()
    app.run(main)
