"""The verb `import-caffe`."""

import sys
from pathlib import Path

from absl import app, flags, logging

from atnet_jax.errors import UserError
from atnet_jax.weights import caffe_mapping
from atnet_jax.weights.import_caffe import import_caffe


def _define_flags() -> None:
    flags.DEFINE_string("caffemodel", None, "The binary .caffemodel.", required=True)
    flags.DEFINE_enum("model", None, caffe_mapping.MODELS, "The network.", required=True)
    flags.DEFINE_string("out", None, "New folder for the weights.", required=True)


def main(arguments: list[str]) -> int:
    """Runs the command line."""
    if len(arguments) > 1:
        print(f"unexpected argument {arguments[1]!r}; options start with --", file=sys.stderr)
        return 1
    values = flags.FLAGS
    logging.set_verbosity(logging.WARNING)  # Orbax tells a page for every checkpoint.
    try:
        report = import_caffe(
            Path(values.caffemodel).expanduser(), values.model, Path(values.out).expanduser()
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    return 0


if __name__ == "__main__":
    _define_flags()
    app.run(main)
