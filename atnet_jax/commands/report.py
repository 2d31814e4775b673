"""Writes the report of finished runs: `atnet report WORKDIR… --out report.html`."""

import sys
from pathlib import Path

from absl import app, flags

from atnet_jax.errors import UserError
from atnet_jax.evaluation import report

_OUT = flags.DEFINE_string(
    "out", None, "The page; its tables go beside it as .md and .tex.", required=True
)
_TITLE = flags.DEFINE_string("title", None, "Heading of the report.")


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    if len(arguments) < 2:
        raise app.UsageError("Which runs? Give their workdirs.")
    out = Path(_OUT.value).expanduser()
    try:
        report.write([Path(workdir).expanduser() for workdir in arguments[1:]], out, _TITLE.value)
    except UserError as error:
        sys.exit(f"Error: {error}")
    print(f"Report: {out.absolute()}")


if __name__ == "__main__":
    app.run(main)
