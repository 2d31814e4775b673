"""Options of the networks, compared with manually assembled parts.

The fusions are tested on streams of one layer each, because they only differ after the streams.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax import models
from atnet_jax.config import check, default_config
from atnet_jax.errors import UserError
from atnet_jax.models import fusion, spatial, temporal
from atnet_jax.models.layers.lstm import LSTM, TemporalStream
from atnet_jax.training.batches import Batches
from atnet_jax.training.engine import make_trainer

LABELS = jnp.array([0, 2, 1])


def clips() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    adm = rng.normal(size=(3, 64, 128))
    adm[0, :20] = adm[0, 50:] = 0
    adm[1, 33:] = 0
    adm[2] = 0
    apex = rng.uniform(0, 255, (3, 16, 16, 1))
    return {"apex": jnp.asarray(apex, jnp.float32), "adm": jnp.asarray(adm, jnp.float32)}


@pytest.mark.parametrize(
    ("pooling", "masked", "rows"),
    [
        ("mean", False, [range(64), range(64), range(64)]),
        ("mean", True, [range(20, 50), range(33), range(0)]),
        ("last", False, [[63], [63], [63]]),
        ("last", True, [[49], [32], [63]]),
    ],
)
def test_time_is_pooled_over_the_rows_asked_for(pooling, masked, rows):
    adm = clips()["adm"]
    stream = TemporalStream(time_pooling=pooling, mask_time=masked)
    variables, lstm = jax.jit(stream.init)(jax.random.key(0), adm), jax.jit(LSTM().apply)
    outputs = lstm({"params": variables["params"]["lstm1"]}, adm)
    outputs = np.asarray(lstm({"params": variables["params"]["lstm2"]}, outputs))
    expected = [
        outputs[k, list(chosen)].mean(axis=0) if len(chosen) else np.zeros(512)
        for k, chosen in enumerate(rows)
    ]
    found = jax.jit(stream.apply)(variables, adm)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


class OneLayer(nn.Module):
    """Stands in for either stream."""

    time_pooling: str = "mean"
    mask_time: bool = False

    @nn.compact
    def __call__(self, x, *_):
        return nn.Dense(8)(x.reshape(x.shape[0], -1) / 100)


@pytest.fixture
def params(monkeypatch):
    """Of every part that a fusion can have: streams and the three classifiers."""
    for method in (fusion, spatial, temporal):
        for stream in ("ResNet10", "TemporalStream"):
            monkeypatch.setattr(method, stream, OneLayer, raising=False)
    inputs, keys = clips(), {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    initialise = jax.jit(lambda inputs: fusion.Model(joint=False).init(keys, inputs, train=True))
    parts = initialise(inputs)
    return {"params": parts["params"]}


def gradient(name: str, params, parts: dict[str, str], **options):
    """Of the loss that the trainer minimises.

    `parts` says which of `params` play which part in the model called `name`.
    """
    method = models.find(name)
    model = method.build_network({**method.options, **options})

    def loss(own):
        logits, updated = model.apply(
            {"params": own},
            clips(),
            train=True,
            rngs={"dropout": jax.random.key(1)},
            mutable=["batch_stats", "auxiliary"],
        )
        heads = [logits, *jax.tree.leaves(updated.get("auxiliary", {}))]
        picked = [jax.nn.log_softmax(head)[jnp.arange(3), LABELS] for head in heads]
        return -sum(p.mean() for p in picked)

    return jax.jit(jax.grad(loss))({part: params["params"][taken] for part, taken in parts.items()})


def fusion_gradient(params, **options):
    return gradient("fusion", params, {part: part for part in params["params"]}, **options)


def assert_close(got, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), got, expected)


@pytest.mark.parametrize("kind", ["feature", "score"])
def test_separate_streams_learn_as_they_would_alone(kind, params):
    separate = fusion_gradient(params, joint=False, fusion=kind)
    for stream in ("spatial", "temporal"):
        parts = {stream: stream, "classifier": f"classifier_{stream}"}
        alone = gradient(stream, params, parts)
        assert np.abs(jax.tree.leaves(alone)[0]).max() > 0
        assert_close(separate[stream], alone[stream])
        assert_close(separate[f"classifier_{stream}"], alone["classifier"])


def test_separate_streams_leave_the_classifier_of_both_as_it_is(params):
    separate = fusion_gradient(params, joint=False)
    joint = fusion_gradient(params)
    assert_close(separate["classifier"], joint["classifier"])
    kernels = [g["spatial"]["Dense_0"]["kernel"] for g in (separate, joint)]
    assert not np.allclose(*kernels, rtol=0.1)


def probabilities(model, params, inputs):
    applied = jax.jit(lambda p, x: jax.nn.softmax(model.apply(p, x, train=False)))
    return np.asarray(applied(params, inputs))


@pytest.mark.parametrize("joint", [True, False])
def test_scores_are_the_mean_of_both_streams_probabilities(joint, params):
    inputs = clips()
    model = fusion.Model(fusion="score", joint=joint)
    scores = probabilities(model, params, inputs)
    alone = []
    for stream in ("spatial", "temporal"):
        own = {
            stream: params["params"][stream],
            "classifier": params["params"][f"classifier_{stream}"],
        }
        alone.append(probabilities(models.find(stream).build_network(), {"params": own}, inputs))
    expected = (alone[0] + alone[1]) / 2
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_a_joint_score_moves_both_streams(params):
    moved = fusion_gradient(params, fusion="score")
    for stream in ("spatial", "temporal"):
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(moved[stream])) > 0
    assert not np.any(moved["classifier"]["Micro_expression"]["kernel"])


def test_the_trainer_adds_the_streams_own_losses(params):
    """After one step the streams have moved, though the fused output passes nothing back."""
    config = default_config("fusion")
    config.options.joint = False
    config.options.fusion = "score"
    config.recipe.weight_decay = 0.0
    inputs = {name: np.asarray(value) for name, value in clips().items()}
    trainer = make_trainer(config, inputs)
    zero = np.zeros(1, np.int32)
    start = jax.device_get(trainer.init(zero, zero))
    indices = np.arange(3, dtype=np.int32)[None]
    block = Batches(indices[None], LABELS[None, None], None)
    state, _ = trainer.epoch(trainer.init(zero, zero), inputs, [block], 0.01)
    parts = {"spatial", "temporal", "classifier_spatial", "classifier_temporal"}
    assert set(state.params) == parts
    for part in parts:
        before, after = jax.tree.leaves(start.params[part]), jax.tree.leaves(state.params[part])
        assert all(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)), part


@pytest.mark.parametrize(
    ("model", "field", "message"),
    [
        ("fusion", "fusion", r"config\.options\.fusion is 'other', expected feature or score"),
        ("temporal", "time_pooling", r"options\.time_pooling is 'other', expected mean or last"),
    ],
)
def test_unknown_options_are_refused(model, field, message):
    config = default_config(model)
    config.options[field] = "other"
    with pytest.raises(UserError, match=message):
        check(config)
