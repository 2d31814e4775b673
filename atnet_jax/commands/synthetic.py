"""Writes synthetic databases: `atnet synthetic --out=DIR`."""

import sys

from absl import app, flags

from atnet_jax.errors import UserError
from data_builders.synthetic.generate import DATABASES, MICRO_EXPRESSION, generate

_OUT = flags.DEFINE_string("out", None, "Folder to write; new or empty.", required=True)
_DATASETS = flags.DEFINE_list(
    "datasets",
    list(MICRO_EXPRESSION),
    f"Databases whose layout to write, of {', '.join(DATABASES)}.",
)
_SUBJECTS = flags.DEFINE_integer("subjects", 5, "Subjects per database.")
_CLIPS = flags.DEFINE_integer("clips", 6, "Clips of the three classes per subject.")
_SEED = flags.DEFINE_integer("seed", 0, "The same seed gives the same pixels.")


def main(argv: list[str]) -> None:
    """Runs the command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        specs = generate(
            _OUT.value,
            datasets=_DATASETS.value,
            subjects=_SUBJECTS.value,
            clips=_CLIPS.value,
            seed=_SEED.value,
        )
    except UserError as error:
        sys.exit(f"Error: {error}")
    print(f"{len(specs)} clips in {_OUT.value}")


if __name__ == "__main__":
    app.run(main)
