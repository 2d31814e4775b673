"""Training of a single fold in memory, without a workdir."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from atnet_jax import models
from atnet_jax.config import Config, check
from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import Fold, Unit
from atnet_jax.errors import UserError
from atnet_jax.models.handcrafted import svm
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.feed import InMemory
from atnet_jax.training.loop import read_network, read_start, train_units
from atnet_jax.training.trained import Networks, input_shapes, one_network, unit_shapes


@dataclasses.dataclass(frozen=True)
class TrainedFold:
    """One fold after its training.

    Attributes:
        fold: The fold.
        scores: Class probabilities of the test clips, in the order of `fold.test`.
        labels: True classes of the test clips.
        loss: Mean training loss of each epoch; empty for features and an SVM.
        accuracy: Training accuracy of each epoch, 0 to 1; empty for features and an SVM.
        networks: The trained network; None for features and an SVM.
    """

    fold: Fold
    scores: Float32[np.ndarray, "test 3"]
    labels: Int[np.ndarray, " test"]
    loss: Float32[np.ndarray, " epoch"]
    accuracy: Float32[np.ndarray, " epoch"]
    networks: Networks | None

    @property
    def predicted(self) -> Int[np.ndarray, " test"]:
        """Predicted class of each test clip: the one with the highest score."""
        return self.scores.argmax(axis=-1)


def train_fold(
    config: Config, composite: Composite, folds: Sequence[Fold], number: int
) -> TrainedFold:
    """Train one fold and score its test clips, without a workdir.

    Training receives the labels of the training clips only. With all folds of the protocol, the
    result is that fold's part of `train(config, workdir)` with the same seed. It differs by
    rounding where a run trains several folds in one program.

    Args:
        config: The configuration, from `load_config`, with one seed.
        composite: The clips, from `load_inputs(config)`.
        folds: All folds, from `make_folds`; the largest decides the shapes of batches.
        number: Index into `folds`.

    Returns:
        The scores of the test clips, the learning curve and the trained network.

    Raises:
        UserError: The configuration has several seeds or names a task that trains no folds, the
            composite lacks an input of the method, `number` is out of range, or training diverged.
    """
    config = check(config)
    if config.task not in ("evaluate", "final"):
        raise UserError(
            f"config.task is {config.task!r}, expected 'evaluate' or 'final' to train a fold."
        )
    if len(config.seeds) != 1:
        raise UserError(f"config.seeds is {config.seeds!r}, expected one seed to train a fold.")
    if not 0 <= number < len(folds):
        raise UserError(
            f"number is {number}, expected the index of a fold from 0 to {len(folds) - 1}."
        )
    fold, [seed] = folds[number], config.seeds
    _check_inputs(config, composite)
    method = models.find(config.model)
    labels = composite.labels[fold.test]
    if method.kind == "features":
        features = composite.inputs["features"]
        machine = method.build_features(config.options.to_dict()).machine()
        scores = svm.fit_predict(
            features[fold.train], composite.labels[fold.train], features[fold.test], machine
        )
        nothing = np.zeros(0, np.float32)
        return TrainedFold(fold, scores, labels, nothing, nothing, None)
    config.engine.keep_networks = True
    units = [Unit(seed, each, composite.labels) for each in folds]
    start, _ = read_start(config, composite.inputs)
    with tempfile.TemporaryDirectory(prefix="atnet_fold_") as folder:
        [result] = train_units(
            config,
            InMemory(composite.inputs),
            units,
            [units[number]],
            {seed: Path(folder)},
            start,
        ).values()
        with FoldCheckpoints(Path(folder) / "checkpoints") as checkpoints:
            variables = read_network(checkpoints, fold.number, unit_shapes(config))
    networks = one_network(config, f"fold {fold.number} ({fold.name})", variables)
    return TrainedFold(fold, result.scores, labels, result.loss, result.accuracy, networks)


def _check_inputs(config: Config, composite: Composite) -> None:
    """Refuse a composite without the inputs of the method.

    Raises:
        UserError: An input is missing.
    """
    method = models.find(config.model)
    needed = ("features",) if method.kind == "features" else tuple(input_shapes(config))
    if missing := [name for name in needed if name not in composite.inputs]:
        raise UserError(
            f"The composite has no input {missing[0]!r}, which {config.model} needs. Load it with"
            f" load_inputs(config)."
        )
