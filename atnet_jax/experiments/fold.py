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
from atnet_jax.names import CLASSES
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.feed import InMemory
from atnet_jax.training.loop import read_network, read_start, train_units
from atnet_jax.training.trained import Networks, check_inputs, one_network, unit_shapes
from atnet_jax.words import numbered


@dataclasses.dataclass(frozen=True, eq=False)
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
        """Predicted class of each test clip, the one with the highest score."""
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
            inputs or the folds do not fit the method and each other, `number` is out of range, or
            training diverged.
    """
    config = check(config)
    if config.task not in ("evaluate", "final"):
        raise UserError(
            f"config.task is {config.task!r}, expected 'evaluate' or 'final' to train a fold."
        )
    if len(config.seeds) != 1:
        raise UserError(f"config.seeds is {config.seeds!r}, expected one seed to train a fold.")
    [seed] = config.seeds
    _check_inputs(config, composite)
    _check_folds(config, composite, folds)
    if isinstance(number, bool) or number not in range(len(folds)):
        raise UserError(
            f"number is {number!r}, expected the index of a fold from 0 to {len(folds) - 1}."
        )
    fold = folds[number]
    if config.shuffle_labels:
        composite = composite.with_shuffled_labels(seed)
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
    """Refuse a composite that does not hold the inputs of the method for every clip.

    Raises:
        UserError: An input is missing, has another shape or holds values that are not finite.
    """
    clips = len(composite.labels)
    if models.find(config.model).kind == "network":
        found = check_inputs(config, composite.inputs)
    elif "features" in composite.inputs and composite.inputs["features"].ndim == 2:
        found = len(composite.inputs["features"])
    else:
        raise UserError(
            f"{config.model} reads the input 'features' [clip, feature]. Load it with"
            f" load_inputs(config)."
        )
    if found != clips:
        raise UserError(f"The inputs hold {numbered(found, 'clip')}, but there are {clips} labels.")
    if not np.all(np.isin(composite.labels, range(len(CLASSES)))):
        raise UserError(f"The labels must be from 0 to {len(CLASSES) - 1}.")


def _check_folds(config: Config, composite: Composite, folds: Sequence[Fold]) -> None:
    """Refuse folds that do not fit the composite, or whose parts overlap.

    Raises:
        UserError: A fold cannot be trained.
    """
    clips = len(composite.labels)
    for place, fold in enumerate(folds):
        parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
        for name, part in parts.items():
            if not np.all(np.isin(part, range(clips))):
                raise UserError(
                    f"The {name} clips of fold {place} must be indices of the"
                    f" {numbered(clips, 'clip')} of the"
                    f" composite. Make the folds of this composite with make_folds."
                )
        used = np.concatenate(list(parts.values()))
        if len(np.unique(used)) < len(used):
            raise UserError(f"A clip is in two parts of fold {place}: train, validation and test.")
        if not len(fold.train):
            raise UserError(f"Fold {place} has no training clips.")
        if fold.number != place:
            raise UserError(
                f"Fold {fold.number} is in place {place}. Pass all folds of the protocol in their"
                f" order, and the number of one."
            )
        if (config.selection == "nested") != bool(len(fold.validation)):
            raise UserError(
                f"config.selection is {config.selection!r}, but fold {place} has"
                f" {len(fold.validation)} validation clips. Pass config.validation_share to"
                f" make_folds for 'nested', and 0 for 'last'."
            )
