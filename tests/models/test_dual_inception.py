import jax.numpy as jnp
import numpy as np

from atnet_jax.models.dual_inception import Inception
from tests.models.against_reference import (
    initial_parameters,
)


def test_starts_as_in_keras():
    """Glorot and Bengio's uniform weights, biases of zero."""
    params = initial_parameters(Inception(16), jnp.zeros((1, 14, 14, 24)))
    for name, fan_in, fan_out in (("conv5", 25 * 16, 25 * 16), ("after_pool", 24, 16)):
        limit = np.sqrt(6 / (fan_in + fan_out))
        assert 0.98 * limit < np.abs(params[name]["kernel"]).max() <= limit
        assert not params[name]["bias"].any()
