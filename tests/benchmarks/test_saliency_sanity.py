"""The comparisons and the randomisation of the sanity-check benchmark."""

import itertools

import jax
import numpy as np
import pytest

from benchmarks.saliency_sanity import _stages, moving_blocks, randomised, rank_correlation
from data_builders.synthetic import clip_specs
from data_builders.synthetic.scene import Scene
from tests.inference.explain.planted import random_variables


def test_rank_correlation():
    rising = np.arange(12.0).reshape(3, 4)
    assert rank_correlation(rising, rising**3) == pytest.approx(1)
    assert rank_correlation(rising, -rising) == pytest.approx(-1)
    assert rank_correlation(rising, np.ones((3, 4))) == 0
    # Spearman's of these, with the mean rank 1.5 for the tie, by hand.
    ties = rank_correlation(np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 3, 4]))
    assert ties == pytest.approx(0.9486833)


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ("temporal", ["classifier", "second LSTM", "first LSTM"]),
        ("ststnet", ["classifier", "filters"]),
        (
            "spatial",
            ["classifier", "block 512", "block 256", "block 128", "block 64 and below"],
        ),
    ],
)
def test_layers_are_randomised_from_the_classifier_down(model, stages):
    trained, untrained = random_variables(model, 0), random_variables(model, 1)
    leaves = jax.tree.leaves(trained["params"])
    found = _stages(trained["params"])
    assert list(found) == stages
    changed = []
    for starts in found.values():
        mixed = jax.tree.leaves(randomised(trained, untrained, starts)["params"])
        changed.append([not np.array_equal(a, b) for a, b in zip(leaves, mixed, strict=True)])
    assert sum(changed[0]) == 2  # The classifier's kernel and bias.
    assert all(np.all(np.array(more) >= less) for less, more in itertools.pairwise(changed))
    assert all(changed[-1])


def test_blocks_that_move_are_those_of_the_expression():
    """At rest but for the expression: the head's own motion is left out."""
    spec = next(spec for spec in clip_specs("samm", 1, 3, 0) if spec.label is not None)
    height, width = spec.camera.height, spec.camera.width
    side = min(height, width)
    box = ((width - side) / 2, 0, (width + side) / 2, side)
    motion = moving_blocks(spec, box)
    seen = np.hypot(*np.moveaxis(Scene(spec).true_flow(spec.onset, spec.apex), -1, 0))
    assert motion.shape == (8, 8)
    assert motion[0, 0] == pytest.approx(0, abs=0.05)  # The room.
    assert 0.2 < motion.max() < seen.max()
