"""The clips that the units of a group see in each step."""

import numpy as np

from atnet_jax.config import default_config
from atnet_jax.data.folds import Fold, Unit
from atnet_jax.training.batches import BatchPlan

CLIPS, BATCH = 23, 8
LEFT_OUT = ([0, 1, 2, 3, 4], [7], [11, 12])
NONE = np.array([], np.int64)


def shared_plan(seed: int = 0) -> tuple[BatchPlan, list[Unit]]:
    config = default_config("ststnet")
    config.recipe.batch_size = BATCH
    labels = np.random.default_rng(0).integers(0, 3, CLIPS)
    folds = [
        Fold(number, str(number), np.setdiff1d(np.arange(CLIPS), out), NONE, np.array(out))
        for number, out in enumerate(LEFT_OUT)
    ]
    units = [Unit(seed, fold, labels) for fold in folds]
    return BatchPlan(config, units), units


def seen(plan: BatchPlan, units: list[Unit], epoch: int) -> list[list[np.ndarray]]:
    """The clips of each unit, step by step."""
    clips: list[list[np.ndarray]] = [[] for _ in units]
    for block in plan.blocks(units, epoch):
        for indices, labels, weights in zip(
            block.indices, block.labels, block.weights, strict=True
        ):
            for k, unit in enumerate(units):
                counts = weights[k] > 0
                np.testing.assert_array_equal(labels[k, counts], unit.labels[indices[counts]])
                assert not labels[k, ~counts].any()
                clips[k].append(indices[counts])
    return clips


def test_units_that_share_batches_see_each_of_their_own_clips_once():
    plan, units = shared_plan()
    assert plan.steps == 3
    for epoch in range(3):
        for unit, steps in zip(units, seen(plan, units, epoch), strict=True):
            assert sorted(np.concatenate(steps)) == unit.fold.train.tolist()
            # Full batches, but for what remains at the end.
            rest = len(unit.fold.train) - 2 * BATCH
            assert [len(step) for step in steps] == [BATCH, BATCH, rest]


def test_shared_batches_do_not_depend_on_the_group():
    plan, units = shared_plan()
    together = seen(plan, units, 1)
    for unit, steps in zip(units, together, strict=True):
        (alone,) = seen(plan, [unit], 1)
        for one, many in zip(alone, steps, strict=True):
            np.testing.assert_array_equal(one, many)


def test_every_epoch_and_seed_has_a_different_shared_order():
    orders = {
        (seed, epoch): tuple(np.concatenate(seen(*shared_plan(seed), epoch)[0]).tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
