import jax.numpy as jnp
import numpy as np

from atnet_jax.preprocessing.flow_range import scale_to_unit_range
from tests.reference.plain_layers import unit_range


def test_each_channel_of_each_map_goes_from_0_to_1():
    maps = np.random.default_rng(0).normal(3, 2, (3, 4, 5, 2)).astype(np.float32)
    maps[1, ..., 0] = -7
    expected = unit_range(maps.astype(np.float64))
    for found in (scale_to_unit_range(maps), scale_to_unit_range(jnp.asarray(maps))):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not scale_to_unit_range(maps)[1, ..., 0].any()
    np.testing.assert_array_equal(scale_to_unit_range(maps[2]), scale_to_unit_range(maps)[2])
