"""Each source of randomness, varied alone: it changes what it names, and nothing else."""

import itertools

import jax
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import check, default_config
from atnet_jax.data.folds import Fold, Unit
from atnet_jax.errors import UserError
from atnet_jax.names import SOURCES
from atnet_jax.training.batches import Batches, BatchPlan
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.sources import acting
from tests.settings import change

CLIPS = 12
METHOD = """
import flax.linen as nn
from atnet_jax.models.layers.network import BaseNetwork

INPUTS = ("apex",)
RECIPE = {"steps_per_epoch": 0, "balance_classes": False}

class Model(BaseNetwork):
    dropped: float = 0.5

    @nn.compact
    def __call__(self, inputs, train, weight=None):
        x = inputs["apex"].reshape(len(inputs["apex"]), -1) / 255
        x = nn.Dropout(self.dropped, deterministic=not train)(x)
        return nn.Dense(3, name="classifier")(x)
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A method that has all four sources, and takes no time."""
    (tmp_path / "all_sources.py").write_text(METHOD)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    found = default_config("all_sources")
    change(found, image_size=8, batch_size=6)
    return found


def varying(config, *sources, fixed_seed=3, **settings):
    own = config.copy_and_resolve_references()
    change(own, varied=sources, fixed_seed=fixed_seed, **settings)
    return check(own)


@pytest.fixture(scope="module")
def inputs():
    return {"apex": np.random.default_rng(0).integers(0, 256, (CLIPS, 8, 8, 1)).astype(np.uint8)}


def batches(config, seed: int, epoch: int = 0) -> list[Batches]:
    nothing = np.zeros(0, np.intp)
    fold = Fold(0, "samm/006", np.arange(3, CLIPS), nothing, np.arange(3))
    unit = Unit(seed, fold, np.arange(CLIPS) % 3)
    return BatchPlan(config, [unit]).blocks([unit], epoch)


def same(first, second) -> bool:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("source", SOURCES)
def test_weights_follow_their_own_seed(source, config, inputs):
    def weights(sources, seeds):
        trainer = make_trainer(varying(config, *sources), inputs)
        return trainer.init(np.array(seeds, np.int32), np.zeros(len(seeds), np.int32)).params

    first, second = (jax.tree.map(lambda p, k=k: p[k], weights([source], (3, 4))) for k in (0, 1))
    assert same(first, second) == (source != "weights")
    # At the fixed seed, they are those of a run of this seed whose sources vary together.
    assert same(weights([source], [3]), weights(SOURCES, [3]))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shared", [False, True])
def test_the_order_follows_its_own_seed(source, shared, config):
    alone = varying(config, source, shared_batches=shared)
    first, second = (batches(alone, seed) for seed in (3, 4))
    assert same(first, second) == (source != "order")
    assert same(first, batches(varying(config, *SOURCES, shared_batches=shared), 3))


@pytest.mark.parametrize("source", ["augmentation", "dropout"])
def test_augmentation_and_dropout_follow_their_own_seed(source, config, inputs):
    def losses(sources, seeds, dropped=0.5, probability=0.5) -> list[float]:
        own = varying(config, *sources, probability=probability)
        own.options.dropped = dropped
        trainer, found = make_trainer(own, inputs), []
        for seed in seeds:
            state = trainer.init(np.full(1, seed, np.int32), np.zeros(1, np.int32))
            _, metrics = trainer.epoch(state, inputs, batches(own, 3), 0.1)
            found.append(float(metrics.loss[0]))
        return found

    fixed, other = losses([source], (3, 4))
    assert fixed != other
    # Without this source, the seed has no effect on the other one.
    off = {"augmentation": {"probability": 0.0}, "dropout": {"dropped": 0.0}}[source]
    without, the_same = losses([source], (3, 4), **off)
    assert without == the_same
    assert losses(SOURCES, [3]) == [fixed]


def test_the_key_of_an_ordinary_run_has_its_old_shape(config, inputs):
    shapes = {
        sources: make_trainer(varying(config, *sources), inputs).shapes().key.shape
        for n in (1, 4)
        for sources in itertools.combinations(SOURCES, n)
    }
    two = (1, 2, 2)
    assert shapes == {
        ("order",): (1, 2), ("weights",): (1, 2), ("augmentation",): two, ("dropout",): two,
        SOURCES: (1, 2),
    }  # fmt: skip


def test_sources_without_effect_are_found(config):
    assert acting(config) == SOURCES
    assert acting(varying(config, "dropout", "order")) == ("dropout", "order")
    config.recipe.augment.probability = 0.0
    config.options.dropped = 0.0
    assert acting(config) == ("order", "weights")
    assert acting(default_config("temporal")) == ("order", "weights")
    assert acting(default_config("ststnet")) == ("order", "weights", "dropout")
    assert acting(default_config("fusion")) == SOURCES


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        (
            "evaluate",
            {"varied": ("order",), "selection": "nested"},
            r"config\.selection is 'nested'",
        ),
        ("evaluate", {"varied": ("order",), "shuffle_labels": True}, "Leave it at False"),
        ("reproduce", {"selection": "nested"}, r"config\.selection is 'nested'"),
        ("reproduce", {"varied": ("order",)}, "at least two of order, weights"),
        ("reproduce", {"seeds": (0,)}, "at least two seeds"),
        ("reproduce", {"seeds": (5, 6)}, r"config\.fixed_seed is 0"),
    ],
)
def test_sources_that_cannot_be_separated_are_refused(task, settings, message):
    config = default_config("ststnet")
    change(config, task=task, **{"seeds": (0, 1), **settings})
    with pytest.raises(UserError, match=message):
        check(config)
