"""What the process that reads clips does: loads a run's networks, and answers with them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import logging

from atnet_jax.evaluation.report.blocks import numbered
from atnet_jax.inference import predict
from atnet_jax.inference.predict import answers, page
from atnet_jax.inference.serve.worker import Answer
from atnet_jax.training import trained

_STAGES = {
    answers.READING: "Reading the frames",
    answers.SPOTTING: "Looking for the expression",
    answers.FACE: "Finding the face",
    answers.CROPPING: "Cropping the face",
    answers.MOTION: "Measuring the motion",
    answers.NETWORKS: "Asking the networks",
    answers.MAPS: "Drawing maps of what they look at",
}


def prepare(workdir: str) -> tuple[dict[str, Any], Answer]:
    """Return what the page tells about the networks of a run, and the function that answers.

    Raises:
        UserError: the folder holds no finished run.
    """
    logging.set_verbosity(logging.WARNING)  # Orbax tells a page for every checkpoint.
    networks = trained.load_networks(Path(workdir).expanduser())

    def answer(
        path: Path, options: dict[str, Any], form: str, progress: Callable[[str], None]
    ) -> Any:
        def tell(stage: str) -> None:
            name, space, count = stage.partition(" ")
            progress(f"{_STAGES.get(name, name)}{space}{count}")

        read = predict.predict_clip(path, networks, predict.Options(**options), tell)
        # Where the upload lay for a while is nothing to keep.
        read = dataclasses.replace(read, clip=path.name)
        if form == "json":
            return read.to_json()
        return page.page(read) if form == "page" else page.body(read)

    about = {
        "networks": f"{numbered(len(networks.names), 'trained network')} of the method"
        f" {networks.config.model}, from the run {Path(workdir).name}.",
        "notes": list(networks.notes),
        "style": page.STYLE,
    }
    return about, answer
