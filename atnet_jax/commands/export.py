"""Export the trained networks of a run to a folder that loads without this package.

With --format=stablehlo, the folder contains a program and the weights of each network, and its
README.md describes how to load them with JAX and NumPy alone. With --format=safetensors, it
contains the weights and the model card; `predict`, `serve` and `export` take that folder as RUN.
"""

from argparse import Namespace

from atnet_jax.commands.parser import Parser, path


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add("run", type=path, metavar="RUN", help="Workdir of a finished run of a network.")
    add(
        "--format",
        choices=("stablehlo", "safetensors"),
        default="stablehlo",
        help="Program and weights, or weights alone.",
    )
    add("--out", required=True, type=path, metavar="FOLDER", help="New folder for the export.")


def run(given: Namespace) -> None:
    """Export the networks; `given` holds the arguments."""
    from atnet_jax.inference.export import export
    from atnet_jax.system.files import refuse_existing
    from atnet_jax.training import trained

    refuse_existing(given.out)  # Checked before the networks are loaded, which is slow.
    networks = trained.load_networks(given.run)
    if given.format == "safetensors":
        trained.export_safetensors(networks, given.out)
        print(f"{len(networks.names)} × {networks.config.model}")
        print(f"Model card: {given.out / 'README.md'}")
        return
    described = export(networks, given.out)
    parts = [described["program"], described["example"], *described["networks"]]
    size = sum(part["bytes"] for part in parts) / 1e6
    print(f"{len(networks.names)} × {described['model']}, {size:.1f} MB")
    print(*networks.notes, described["not_for"], sep="\n")
    print(f"Loading instructions: {given.out / 'README.md'}")
