"""Variational flow, compared with plain solutions of the same equations and with known motion."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from scipy import ndimage, sparse
from scipy.sparse import linalg
from skimage.color import rgb2gray
from skimage.registration import optical_flow_tvl1

from atnet_jax.preprocessing.optical_flow import pyramid, solver, tv_l1, variational
from atnet_jax.preprocessing.optical_flow.texture import texture
from atnet_jax.preprocessing.optical_flow.warping import bicubic
from atnet_jax.system import backend

HORN_SCHUNCK = variational.Parameters(smoothness=40.0, quadratic=(1.0, 1.0))
CLASSIC = variational.Parameters(smoothness=5.0, quadratic=(1.0, 0.5, 0.0))
PAPER = variational.Parameters(smoothness=3.0, quadratic=(1.0, 0.5, 0.0), texture=True, median=True)
SOLVERS = {
    "horn_schunck": variational.variational(HORN_SCHUNCK),
    "classic": variational.variational(CLASSIC),
    "paper": variational.variational(PAPER),
    "tv_l1": tv_l1.tv_l1(),
}
each_solver = pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)


def one(solve, first, second):
    return solve(first[None].astype(np.float32), second[None].astype(np.float32))[0]


def endpoint_error(flow, truth) -> float:
    return float(np.hypot(*np.moveaxis(flow - truth, -1, 0)).mean())


@functools.cache
def astronaut(mean_motion: float):
    """A photograph of a face before and after a smooth warp, and its flow; noise-free, 8 bits."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((2, 304, 304))
    flow = np.stack([ndimage.gaussian_filter(part, 30)[40:-40, 40:-40] for part in noise], -1)
    flow *= mean_motion / np.hypot(*np.moveaxis(flow, -1, 0)).mean()
    y, x = np.mgrid[:224, :224].astype(float)
    from_y, from_x = y, x  # where a pixel of the second picture comes from
    for _ in range(30):
        u, v = (
            ndimage.map_coordinates(part, [from_y, from_x], mode="nearest")
            for part in np.moveaxis(flow, -1, 0)
        )
        from_y, from_x = y - v, x - u
    source = ndimage.gaussian_filter(255 * rgb2gray(skimage.data.astronaut()), 1)

    def picture(y, x):
        places = [2 * y + 4, 2 * x + 60]
        return np.rint(ndimage.map_coordinates(source, places, order=5)).astype(np.float32)

    return picture(y, x), picture(from_y, from_x), flow


def textbook_step(first, second, flow, smoothness, weights=None):
    """The minimum of the linearised energy, by a sparse direct solver in double precision.

    `weights` gives those of the data and of each difference, as functions of their values.
    """
    height, width = first.shape
    number = np.arange(height * width).reshape(height, width)

    def derivative(image, axis):
        kernel = np.array([1, -8, 0, 8, -1]) / 12
        return ndimage.correlate1d(image, kernel, axis, mode="nearest")

    mean = (first + second) / 2
    data_weight, flow_weight = weights or (np.ones_like, np.ones_like)
    slope = np.stack([derivative(mean, 1), derivative(mean, 0)]).reshape(2, -1)
    change = (second - first).ravel()
    data = data_weight(change)

    def differences(values):
        pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
        rows = []
        for before, after in pairs:
            identity = sparse.identity(height * width, format="csr")
            rows.append(identity[after.ravel()] - identity[before.ravel()])
        matrix = sparse.vstack(rows)
        return matrix.T @ sparse.diags(smoothness * flow_weight(matrix @ values)) @ matrix

    laplacians = [differences(part.ravel()) for part in np.moveaxis(flow, -1, 0)]
    blocks = [[sparse.diags(data * slope[i] * slope[j]) for j in range(2)] for i in range(2)]
    for i in range(2):
        blocks[i][i] = blocks[i][i] + laplacians[i]
    right = [-data * slope[i] * change - laplacians[i] @ flow[..., i].ravel() for i in range(2)]
    step = linalg.spsolve(sparse.bmat(blocks, format="csc"), np.concatenate(right))
    return flow + np.clip(np.moveaxis(step.reshape(2, height, width), 0, -1), -1, 1)


@pytest.mark.parametrize("size", [(21, 17), (16, 20)])
def test_horn_schunck_against_a_textbook_implementation(size):
    """One level and one warp; the picture is too small for more levels."""
    assert pyramid.levels(*size) == 1
    random = np.random.default_rng(3)
    first = ndimage.gaussian_filter(random.uniform(0, 255, size), 1.5)
    second = ndimage.shift(first, (0.3, -0.2), mode="nearest")
    parameters = dataclasses.replace(HORN_SCHUNCK, quadratic=(1.0,), iterations=400)
    flow = one(variational.variational(parameters), first, second)
    expected = textbook_step(first, second, np.zeros((*size, 2)), 40)
    assert np.abs(expected).max() > 0.3
    np.testing.assert_allclose(flow, expected, atol=2e-5)


def test_a_step_is_of_a_pixel_at_most():
    """The linearised equations are not reliable for large motion."""
    random = np.random.default_rng(3)
    first = ndimage.gaussian_filter(random.uniform(0, 255, (21, 17)), 1.5)
    second = ndimage.shift(first, (0.8, -1.0), mode="nearest")
    parameters = dataclasses.replace(HORN_SCHUNCK, quadratic=(1.0,), iterations=400)
    flow = one(variational.variational(parameters), first, second)
    expected = textbook_step(first, second, np.zeros((21, 17, 2)), 40)
    assert 0.1 < (np.abs(expected) == 1).mean() < 0.9
    np.testing.assert_allclose(flow, expected, atol=1e-4)


def test_charbonnier_against_a_textbook_implementation():
    """Second warp of a level; the penalties are linearised at its flow."""
    random = np.random.default_rng(3)
    first = ndimage.gaussian_filter(random.uniform(0, 255, (21, 17)), 1.5)
    second = first + 3 * ndimage.gaussian_filter(random.standard_normal(first.shape), 2)

    def weight(epsilon):
        return lambda s: 0.3 + 0.7 * 0.45 * (s**2 + epsilon**2) ** (0.45 - 1)

    parameters = variational.Parameters(
        smoothness=2.0,
        quadratic=(0.3,),
        exponent=0.45,
        brightness_epsilon=0.5,
        flow_epsilon=0.02,
        iterations=800,
    )
    expected = textbook_step(first, second, np.zeros((21, 17, 2)), 2, (weight(0.5), weight(0.02)))
    found = one(variational.variational(parameters), first, second)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_tv_l1_against_its_steps_written_out():
    """One level and one warp: Zach, Pock and Bischof's thresholding and dual ascent."""
    random = np.random.default_rng(3)
    first = ndimage.gaussian_filter(random.uniform(0, 255, (21, 17)), 1.5)
    second = ndimage.shift(first, (0.3, -0.2), mode="nearest")
    kernel = np.array([1, -8, 0, 8, -1]) / 12
    mean = (first + second) / 2 / 255
    slope = np.stack([ndimage.correlate1d(mean, kernel, axis, mode="nearest") for axis in (1, 0)])
    reach, theta = 15 * 0.3, 0.3
    flow, dual = np.zeros((2, 21, 17)), np.zeros((2, 2, 21, 17))  # [along x or y, u or v, …]
    for _ in range(10):
        difference = (second - first) / 255 + (slope * flow).sum(0)
        limit = reach * (slope**2).sum(0)
        inner = np.abs(difference) <= limit
        way = np.where(inner, -difference / (slope**2).sum(0), -reach * np.sign(difference))
        fitted = flow + way * slope
        for _ in range(2):
            divergence = sum(np.diff(dual[k], axis=2 - k, prepend=0) for k in (0, 1))
            flow = fitted + theta * divergence
            along = np.stack([
                np.diff(flow, axis=2, append=flow[:, :, -1:]),
                np.diff(flow, axis=1, append=flow[:, -1:]),
            ])  # fmt: skip
            step = 0.25 / theta
            dual = (dual + step * along) / (1 + step * np.sqrt((along**2).sum(0)))
        flow = fitted + theta * sum(np.diff(dual[k], axis=2 - k, prepend=0) for k in (0, 1))
    assert 0.05 < inner.mean() < 0.95
    found = one(tv_l1.tv_l1(num_warp=1), first, second)
    np.testing.assert_allclose(found, np.moveaxis(flow, 0, -1), atol=1e-4)


@pytest.mark.parametrize(("motion", "of_ours", "apart"), [(0.5, 0.10, 0.08), (2, 0.32, 0.13)])
def test_tv_l1_against_scikit_image(motion, of_ours, apart):
    first, second, truth = astronaut(motion)
    flow = one(SOLVERS["tv_l1"], first, second)
    theirs = optical_flow_tvl1(first / 255, second / 255)[::-1].transpose(1, 2, 0)
    assert endpoint_error(flow, theirs) < apart
    assert endpoint_error(flow, truth) < of_ours
    assert endpoint_error(flow, truth) < 1.25 * endpoint_error(theirs, truth)


@each_solver
@pytest.mark.parametrize(("right", "down"), [(0.4, 0), (-0.4, 0), (0, 0.4), (0, -0.4), (2.5, -1.5)])
def test_direction_and_size(shifted, solve, right: float, down: float):
    flow = one(solve, shifted(0, 0), shifted(right, down))
    assert flow.shape == (224, 224, 2)
    assert flow.dtype == np.float32
    u, v = np.median(flow[30:-30, 30:-30], axis=(0, 1))
    assert u == pytest.approx(right, abs=0.12 * max(abs(right), abs(down)))
    assert v == pytest.approx(down, abs=0.12 * max(abs(right), abs(down)))


@each_solver
def test_equal_frames_do_not_move(shifted, solve):
    assert np.abs(one(solve, shifted(0, 0), shifted(0, 0))).max() < 1e-6
    even = np.full((45, 70), 90.0)
    assert np.abs(one(solve, even, even)).max() < 1e-6


@each_solver
@pytest.mark.parametrize("size", [(16, 16), (45, 70)])
def test_any_size(shifted, solve, size):
    height, width = size
    crops = [shifted(*motion)[:height, :width] for motion in ((0, 0), (0.5, 0.25))]
    flow = one(solve, *crops)
    assert flow.shape == (height, width, 2)
    u, v = np.median(flow, axis=(0, 1))
    assert u == pytest.approx(0.5, abs=0.15)
    assert v == pytest.approx(0.25, abs=0.15)


@each_solver
def test_a_pair_does_not_depend_on_the_others(shifted, solve):
    frames = np.stack([shifted(0.3 * k, -0.2 * k)[:45, :70] for k in range(6)]).astype(np.float32)
    together = solve(frames[:-1], frames[1:])
    for k, flow in enumerate(together):
        np.testing.assert_array_equal(flow, one(solve, frames[k], frames[k + 1]))
    np.testing.assert_array_equal(solve(frames[1:3], frames[2:4]), together[1:3])


@pytest.mark.parametrize(
    "solve",
    # One warp of each kind: a GPU's program is compiled as a whole, which takes as long as it is.
    [
        variational.variational(HORN_SCHUNCK),
        variational.variational(dataclasses.replace(CLASSIC, quadratic=(0.5,))),
        variational.variational(dataclasses.replace(PAPER, quadratic=(0.5,))),
        tv_l1.tv_l1(num_warp=1),
    ],
    ids=SOLVERS,
)
def test_pairs_together_as_on_a_gpu(monkeypatch, shifted, solve):
    frames = np.stack([shifted(0.3 * k, -0.2 * k)[:20, :24] for k in range(4)]).astype(np.float32)
    alone = solve(frames[:-1], frames[1:])
    monkeypatch.setattr(solver, "PAIRS_ON_GPU", 2)
    with backend.tracing_for("gpu"):
        together = solve(frames[:-1], frames[1:])
    np.testing.assert_allclose(together, alone, atol=2e-3)


@each_solver
def test_no_pairs(solve):
    none = np.zeros((0, 224, 224), np.float32)
    assert solve(none, none).shape == (0, 224, 224, 2)


def test_motion_out_of_the_picture_has_no_say(shifted):
    """The flow there follows its neighbours, as nothing is seen of what left the picture."""
    flow = one(SOLVERS["horn_schunck"], shifted(0, 0), shifted(4, 0))
    assert flow[30:-30, -3:, 0].mean() == pytest.approx(4, abs=0.8)


@pytest.mark.parametrize("place", [0.0, 0.03, 0.5, 0.9])
def test_bicubic_is_exact_for_parabolas(place):
    """Keys's weights with a = -1/2 have this order; other weights do not."""
    x = np.arange(12.0)
    picture = jnp.float32(np.add.outer((x - 4) ** 2, 0.5 * (x - 6) ** 2))
    at = np.arange(2, 9) + place
    found = bicubic(picture, jnp.float32(at), jnp.float32(at[::-1].copy()))
    np.testing.assert_allclose(found, (at[::-1] - 4) ** 2 + 0.5 * (at - 6) ** 2, atol=1e-4)


def test_median_against_scipy():
    flow = np.random.default_rng(0).standard_normal((2, 19, 23)).astype(np.float32)
    expected = ndimage.median_filter(flow, (1, 5, 5), mode="nearest")
    np.testing.assert_array_equal(variational.median_5x5(jnp.asarray(flow)), expected)


def test_texture_removes_light_and_contrast(shifted):
    first, second = shifted(0, 0), shifted(0.5, 0)
    light = np.linspace(0, 60, 224)
    plain = np.asarray(texture(jnp.float32(first), jnp.float32(second)))
    assert plain.min() == 0
    assert plain.max() == pytest.approx(255)
    paler = [jnp.float32(0.5 * image + 10) for image in (first, second)]
    np.testing.assert_allclose(texture(*paler), plain, atol=0.05)
    lit = np.asarray(texture(jnp.float32(first + light), jnp.float32(second + light)))
    assert np.corrcoef(lit[0].ravel(), plain[0].ravel())[0, 1] > 0.95
    assert np.corrcoef((first + light).ravel(), first.ravel())[0, 1] < 0.85


def test_levels_of_the_pyramid():
    assert pyramid.levels(224, 224) == 4
    assert pyramid.levels(16, 16) == 1
    sizes = []
    pyramid.coarse_to_fine(
        jnp.zeros((61, 70)),
        jnp.zeros((61, 70)),
        lambda first, second, flow: sizes.append(flow.shape[1:]) or flow,
    )
    assert sizes == [(16, 18), (31, 35), (61, 70)]


def test_halving_keeps_places():
    """A slope stays the same slope at the places of the larger pixels, and so does a flow's."""
    slope = np.add.outer(3 * np.arange(12), 2 * np.arange(15)).astype(np.float32)
    half = np.asarray(pyramid.halve(jnp.asarray(slope)))
    middles = np.add.outer(3 * (2 * np.arange(6) + 0.5), 2 * (2 * np.arange(8) + 0.5))
    np.testing.assert_allclose(half[1:-1, 1:-1], middles[1:-1, 1:-1], rtol=1e-6)
    flow = np.asarray(pyramid.finer(jnp.stack([half, -half]), (12, 15)))
    np.testing.assert_allclose(flow[0, 3:-3, 3:-3], 2 * slope[3:-3, 3:-3], rtol=1e-6)
