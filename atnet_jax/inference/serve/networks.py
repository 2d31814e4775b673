"""Work of the worker process: loading the networks of a run and predicting with them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import logging

from atnet_jax.inference import predict
from atnet_jax.inference.predict import answers, page
from atnet_jax.inference.serve.worker import Answer
from atnet_jax.training import trained
from atnet_jax.words import numbered

_STAGES = {
    answers.READING: "Reading the frames",
    answers.SPOTTING: "Spotting the expression",
    answers.FACE: "Finding the face",
    answers.CROPPING: "Cropping the face",
    answers.MOTION: "Computing the motion",
    answers.NETWORKS: "Running the networks",
    answers.MAPS: "Computing the maps",
}


def prepare(workdir: str) -> tuple[dict[str, Any], Answer]:
    """Return a description of the networks of a run, and the function that predicts with them.

    Args:
        workdir: Workdir of a finished run.

    Raises:
        UserError: The folder contains no finished run.
    """
    logging.set_verbosity(logging.WARNING)  # Orbax logs a page of text for every checkpoint.
    networks = trained.load_networks(Path(workdir).expanduser())

    def answer(
        path: Path, options: dict[str, Any], form: str, progress: Callable[[str], None]
    ) -> Any:
        def tell(stage: str) -> None:
            name, space, count = stage.partition(" ")
            progress(f"{_STAGES.get(name, name)}{space}{count}")

        read = predict.predict_clip(path, networks, predict.Options(**options), tell)
        # The temporary folder of the upload must not appear in the result.
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
