"""Export the trained networks of a run to a folder that loads without this package.

The folder contains a StableHLO program and the weights of each network. Its README.md describes how
to load them.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("run", type=path, metavar="RUN", help="Workdir of a finished run of a network.")
    add("--out", required=True, type=path, metavar="FOLDER", help="New folder for the export.")


def run(given: Namespace) -> None:
    """Export the networks; `given` holds the arguments."""
    from atnet_jax.inference.export import export
    from atnet_jax.system.files import refuse_existing
    from atnet_jax.training import trained

    refuse_existing(given.out)  # Checked before the networks are loaded, which is slow.
    networks = trained.load_networks(given.run)
    described = export(networks, given.out)
    parts = [described["program"], described["example"], *described["networks"]]
    size = sum(part["bytes"] for part in parts) / 1e6
    print(f"{len(networks.names)} × {described['model']}, {size:.1f} MB")
    print(*networks.notes, described["not_for"], sep="\n")
    print(f"Loading instructions: {given.out / 'README.md'}")
