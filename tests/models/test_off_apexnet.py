import numpy as np
import pytest

from atnet_jax.models.off_apexnet import Model
from tests.models.against_reference import (
    apply,
    flow_maps,
    initial_parameters,
    random_variables,
)

INPUTS = {"flow_map": flow_maps()}


@pytest.fixture(scope="module")
def variables():
    return random_variables(Model(), INPUTS, False)


def test_maps_in_pixels_and_published_pictures_of_them_give_the_same(variables):
    maps = INPUTS["flow_map"]
    low, high = (edge((1, 2), keepdims=True) for edge in (maps.min, maps.max))
    pictures = 255 * (maps - low) / (high - low)
    for_pixels, _ = apply(Model(), variables, {"flow_map": maps}, False)
    for_pictures, _ = apply(Model(), variables, {"flow_map": pictures}, False)
    np.testing.assert_allclose(for_pictures, for_pixels, rtol=1e-3, atol=1e-4)


def test_starts_as_in_pytorch():
    params = initial_parameters(Model(), INPUTS, False)
    for layer, fan_in in (
        (params["u"]["conv1"], 25),
        (params["v"]["conv2"], 150),
        (params["hidden1"], 1568),
        (params["classifier"], 1024),
    ):
        assert 0.9 * fan_in**-0.5 < np.abs(layer["kernel"]).max() <= fan_in**-0.5
        assert 0 < np.abs(layer["bias"]).max() <= fan_in**-0.5
    assert not np.array_equal(params["u"]["conv1"]["kernel"], params["v"]["conv1"]["kernel"])
