"""Exports a run's trained networks to a folder that loads without this package.

The networks become StableHLO programs with their weights beside them. The README.md in the folder
describes how to load it.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path


def add_arguments(parser: Parser) -> None:
    """Defines the options."""
    add = parser.option
    add("run", type=path, metavar="RUN", help="Workdir of a finished run of a network.")
    add("--out", required=True, type=path, metavar="FOLDER", help="New folder for the export.")


def run(given: Namespace) -> None:
    """Exports the networks."""
    from atnet_jax.inference.export import export
    from atnet_jax.system.files import refuse_existing
    from atnet_jax.training import trained

    refuse_existing(given.out)  # Before the networks are read, which may take a while.
    networks = trained.load_networks(given.run)
    described = export(networks, given.out)
    parts = [described["program"], described["example"], *described["networks"]]
    size = sum(part["bytes"] for part in parts) / 1e6
    print(f"{len(networks.names)} × {described['model']}, {size:.1f} MB")
    print(*networks.notes, described["not_for"], sep="\n")
    print(f"How to load it: {given.out / 'README.md'}")
