"""The verb `score-ststnet`."""

import sys
from pathlib import Path

from absl import app, flags

from atnet_jax.config import default_config
from atnet_jax.errors import UserError
from atnet_jax.experiments.published_ststnet import import_torch
from atnet_jax.preprocessing import optical_flow


def _define_flags() -> None:
    flags.DEFINE_string(
        "weights", None, "Folder with SUBJECT.pth or SUBJECT.safetensors.", required=True
    )
    flags.DEFINE_string("workdir", None, "Folder for the results.", required=True)
    flags.DEFINE_string("data_dir", "data", "The folder that the data sets were prepared in.")
    flags.DEFINE_list("datasets", ["casme2", "samm", "smic"], "The prepared data sets.")
    flags.DEFINE_string("flow", optical_flow.DEFAULT, "The flow they were prepared with.")


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    if len(arguments) > 1:
        raise app.UsageError(f"What is {arguments[1]!r}? Options start with --.")
    values = flags.FLAGS
    config = default_config("ststnet")
    config.init_from = values.weights
    config.data.update(dir=values.data_dir, datasets=tuple(values.datasets), flow=values.flow)
    try:
        page = import_torch(
            config, Path(values.weights).expanduser(), Path(values.workdir).expanduser()
        )
    except UserError as error:
        sys.exit(f"Error: {error}")
    print(f"\n{(page.parent / 'table.md').read_text()}\nReport: {page.absolute()}")


if __name__ == "__main__":
    _define_flags()
    app.run(main)
