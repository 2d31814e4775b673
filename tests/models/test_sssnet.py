import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models.sssnet import Model
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from tests.models.against_reference import (
    KEYS,
    flow_maps,
    random_variables,
)

INPUTS = {"flow_map": flow_maps(64)}


@pytest.fixture(scope="module")
def variables():
    return random_variables(Model(), INPUTS, False)


def test_whole_channels_are_dropped_in_training(variables):
    _, state = Model().apply(
        variables, INPUTS, True, rngs=KEYS, capture_intermediates=True,
        mutable=["intermediates", "batch_stats"],
    )  # fmt: skip
    seen = state["intermediates"]["Dropout_0"]["__call__"][0]
    dropped = jnp.all(seen == 0, axis=(1, 2))
    assert 0.3 < dropped.mean() < 0.7
    assert not jnp.any((seen == 0).mean((1, 2)) * ~dropped > 0.01)


def test_reads_the_flow_map_at_its_size():
    flow = np.zeros((224, 224, 2), np.float32)
    flow[:112, :, 0], flow[112:, :, 1] = 1.0, -2.0
    clip = PreparedClip("a/b/c", flow=flow)
    seen = Model().prepare(clip, flow_method("dis"), 224)["flow_map"]
    assert {"flow_map": seen.shape} == Model().input_shapes(224)
    np.testing.assert_allclose(seen[:31, :, 0], 1, atol=1e-6)
    np.testing.assert_allclose(seen[33:, :, 1], -2, atol=1e-6)
