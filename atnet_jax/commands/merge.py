"""The verb `merge`."""

import sys
from pathlib import Path

from absl import app, flags

from atnet_jax.errors import UserError
from atnet_jax.experiments.merge import merge

_OUT = flags.DEFINE_string("out", None, "Folder for the joined run; new or empty.", required=True)


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    if len(arguments) < 2:
        raise app.UsageError("Which runs? Give their workdirs.")
    out = Path(_OUT.value).expanduser()
    try:
        page = merge([Path(part).expanduser() for part in arguments[1:]], out)
    except UserError as error:
        sys.exit(f"Error: {error}")
    print(f"Report: {page.absolute()}")


if __name__ == "__main__":
    app.run(main)
