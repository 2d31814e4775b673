"""Exports a run's trained networks: `atnet export --workdir=RUN --out=FOLDER`.

The folder can be loaded without this package; its README.md says how.
"""

import sys
from pathlib import Path

from absl import app, flags, logging

from atnet_jax.errors import UserError
from atnet_jax.inference.export import export, refuse_existing
from atnet_jax.training import trained


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of a finished run of a network.", required=True)
    flags.DEFINE_string("out", None, "New folder for what is exported.", required=True)


def run(workdir: Path, out: Path) -> str:
    """Exports the networks of the run in `workdir` to `out`, and returns what was written.

    Raises:
      UserError: there are no networks, or the folder cannot be written.
    """
    refuse_existing(out)  # Before the networks are read, which may take a while.
    networks = trained.load(workdir)
    described = export(networks, out)
    parts = [described["program"], described["example"], *described["networks"]]
    lines = [
        f"{len(networks.names)} × {described['model']},"
        f" {sum(part['bytes'] for part in parts) / 1e6:.1f} MB",
        *networks.notes,
        described["not_for"],
        f"How to load it: {out / 'README.md'}",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Runs the command line."""
    if len(arguments) > 1:
        print(f"unexpected argument {arguments[1]!r}; options start with --", file=sys.stderr)
        return 1
    values = flags.FLAGS
    logging.set_verbosity(logging.WARNING)  # Orbax tells a page for every checkpoint.
    try:
        report = run(Path(values.workdir).expanduser(), Path(values.out).expanduser())
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    return 0


if __name__ == "__main__":
    _define_flags()
    app.run(main)
