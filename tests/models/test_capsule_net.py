import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.models import capsule_net
from atnet_jax.models.capsule_net import Model, canvas, cut_centre, cut_size
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from tests.models.against_reference import (
    apply,
    in_float64,
    layer_shapes,
    random_variables,
    training_gradient,
    unused,
)
from tests.reference import capsule_net as reference

SMALLEST = 129


def pictures(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    """The smallest there is: 32 capsules. Its variables, and the five frames of three clips."""
    faces = jnp.asarray(pictures(0, 3, *Model().input_shapes(SMALLEST)["faces"]), jnp.float32)
    return random_variables(Model(), {"faces": faces}, False), faces


def check(out, updated, variables, faces, train):
    wanted = in_float64(variables)
    expected = reference.lengths(
        wanted["params"], wanted["batch_stats"], np.asarray(faces, np.float64), train
    )
    np.testing.assert_allclose(out, expected, rtol=2e-3)
    assert np.ptp(expected) > 0.01
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        updated,
        wanted["batch_stats"],
    )


def middle(faces):
    return faces[:, 2, 3 : 3 + SMALLEST, 4 : 4 + SMALLEST]


def test_tested_is_the_middle_of_the_apex_frame(network):
    variables, faces = network
    out, updated = apply(Model(), variables, {"faces": faces[:2]}, False)
    check(out, updated, variables, middle(faces[:2]), False)


def test_training_sees_what_augmentation_gives_and_no_padding(network):
    variables, faces = network
    weight = jnp.array([1.0, 1, 0])
    out, updated = apply(Model(), variables, {"face": middle(faces)}, True, weight)
    check(out[:2], updated, variables, middle(faces[:2]), True)


def test_gradient_reaches_every_parameter(network):
    variables, faces = network
    face = {"face": jnp.repeat(middle(faces), 2, axis=0)[:4]}
    gradient = training_gradient(Model(), variables, face)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


def test_layers_are_as_large_as_published():
    shapes = layer_shapes(Model(), {"faces": jnp.zeros((1, *Model().input_shapes(224)["faces"]))})
    assert shapes["conv1"] == (112, 112, 64)
    assert shapes["layer1"] == (112, 112, 64)
    assert shapes["layer2"] == (56, 56, 128)
    assert shapes["layer3"] == (28, 28, 256)
    assert shapes["conv2"] == (20, 20, 256)
    assert shapes["primary"] == (6, 6, 256)
    assert shapes["capsules"] == (3, 16)
    assert shapes[""] == (3,)


def test_parameters():
    inputs = {"face": jnp.zeros((1, 224, 224, 3))}
    shapes = jax.eval_shape(lambda: Model().init(jax.random.key(0), inputs, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 13_842_496
    assert shapes["params"]["capsules"]["kernel"].shape == (3, 1152, 16, 8)


def test_sizes():
    assert Model().input_shapes(224) == {"faces": (5, 234, 240, 3)}
    assert Model().input_shapes(SMALLEST) == {"faces": (5, 135, 138, 3)}
    for size in range(SMALLEST, 225):
        assert cut_size(canvas(size)[0]) == size
    with pytest.raises(UserError, match="at least 129×129 pixels, not 128×128"):
        Model().input_shapes(SMALLEST - 1)


def test_the_middle_of_a_picture():
    face = jnp.asarray(pictures(0, 1, 234, 240, 3), jnp.float32)
    assert np.array_equal(cut_centre(face), face[:, 5:229, 8:232])


def test_routing_against_a_loop():
    votes = np.random.default_rng(0).normal(0, 1.5, (2, 3, 7, 4)).astype(np.float32)
    results = []
    for routings in (1, 2, 3):
        out = jax.jit(capsule_net.route, static_argnums=1)(jnp.asarray(votes), routings)
        expected = [reference.route(clip, routings) for clip in votes.astype(np.float64)]
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)
        results.append(np.asarray(out))
    assert np.abs(results[1] - results[0]).max() > 0.05 < np.abs(results[2] - results[1]).max()


def test_routing_passes_its_gradient_on_through_the_last_sum_alone():
    votes = jnp.asarray(np.random.default_rng(0).normal(0, 1.5, (1, 3, 5, 4)), jnp.float32)
    wanted = jnp.asarray(np.random.default_rng(1).normal(size=(1, 3, 4)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda votes: (capsule_net.route(votes, 3) * wanted).sum()))(votes)
    # The shares of the last sum, as constants.
    agreement = np.zeros((3, 5))
    for routings in (1, 2):
        outputs = reference.route(np.asarray(votes[0], np.float64), routings)
        agreement += np.einsum("ks,kns->kn", outputs, votes[0])
    shares = jnp.asarray(np.exp(agreement) / np.exp(agreement).sum(axis=0), jnp.float32)

    def last_sum(votes):
        return (capsule_net.squash(jnp.einsum("kn,bkns->bks", shares, votes)) * wanted).sum()

    np.testing.assert_allclose(gradient, jax.jit(jax.grad(last_sum))(votes), rtol=1e-3, atol=1e-6)


def test_squash_shortens_and_bears_zero():
    v = np.random.default_rng(0).normal(0, 3, (6, 8)).astype(np.float32)
    expected = [reference.squash(row.astype(np.float64)) for row in v]
    np.testing.assert_allclose(capsule_net.squash(jnp.asarray(v)), expected, rtol=1e-5)
    zero = jnp.zeros((2, 8))
    assert not capsule_net.squash(zero).any()
    of_zero = jax.jit(jax.grad(lambda v: capsule_net.length(capsule_net.squash(v)).sum()))(zero)
    assert np.isfinite(of_zero).all()


def test_loss_is_the_margin():
    lengths = np.array([[0.2, 0.005, 0.7], [0.995, 0.3, 0.0], [0.0, 0.0, 0.0]], np.float32)
    labels = np.array([2, 0, 1])
    expected = [reference.margin_loss(*case) for case in zip(lengths, labels, strict=True)]
    out = jax.jit(Model().loss)(jnp.asarray(lengths), jnp.asarray(labels))
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_jitter_against_the_standard_library():
    key = jax.random.key(0)
    faces = pictures(2, 4, 5, 6, 3).astype(np.float32)
    faces[0, 0] = 77  # Grey.
    faces[1, 0, :, 0] = faces[1, 0, :, 1]  # Two equal channels.
    draws = np.asarray(jax.random.uniform(key, (4, 4, 1, 1, 1), minval=-0.2, maxval=0.2)).squeeze()
    out = jax.jit(capsule_net.jitter)(key, jnp.asarray(faces))
    expected = [
        reference.jitter(face.astype(np.float64), 1 + b, 1 + c, 1 + s, h)
        for face, b, c, s, h in zip(faces, *draws, strict=True)
    ]
    np.testing.assert_allclose(out, expected, atol=0.02)
    assert np.abs(out - faces).max() > 20


def test_jitter_leaves_grey_pictures_grey():
    faces = jnp.broadcast_to(jnp.arange(40.0).reshape(1, 5, 8, 1) * 6, (3, 5, 8, 3))
    out = np.asarray(jax.jit(capsule_net.jitter)(jax.random.key(1), faces))
    np.testing.assert_allclose(out, out[..., :1].repeat(3, axis=-1), atol=0.01)


@pytest.mark.parametrize("turn", [1 / 3, -1 / 3, 1.0])
def test_hue_goes_round_from_red_over_green_to_blue(turn):
    face = jnp.asarray(pictures(3, 1, 4, 4, 3), jnp.float32)
    out = jax.jit(capsule_net.turn_hue)(face, jnp.full((1, 1, 1), turn))
    np.testing.assert_allclose(out, np.roll(face, round(turn * 3), axis=-1), atol=0.01)


def test_augmentation_draws_frames_mirrors_and_cuts(monkeypatch):
    turn_and_cut = capsule_net.turn_and_cut
    turned = []

    def note(pictures, degrees, corner, size, fill):
        turned.append((degrees, fill))
        return turn_and_cut(pictures, jnp.zeros_like(degrees), corner, size, fill)

    @jax.jit
    def augmented(faces):
        face = Model().augment(jax.random.key(0), {"faces": faces}, unused)["face"]
        return face, tuple(turned)

    monkeypatch.setattr(capsule_net, "turn_and_cut", note)
    monkeypatch.setattr(capsule_net, "jitter", lambda key, faces: faces)
    height, width = canvas(24)
    assert (height, width) == (25, 26)
    # Every value tells its frame, row and column.
    code = np.arange(5 * height * width).reshape(5, height, width, 1)
    faces = jnp.asarray(np.broadcast_to(code, (1500, 5, height, width, 3)), jnp.float32)
    out, ((degrees, fill), (again, _)) = jax.tree.map(np.asarray, augmented(faces))
    assert out.shape == (1500, 24, 24, 3)
    frame, row, column = np.unravel_index(out[..., 0].astype(int), code.shape[:3])
    shares = np.bincount(frame[:, 0, 0], minlength=5) / 1500
    np.testing.assert_allclose(shares, [0.16, 0.16, 0.36, 0.16, 0.16], atol=0.03)
    assert (frame == frame[:, :1, :1]).all()
    step = column[:, 0, 1] - column[:, 0, 0]
    assert set(step) == {-1, 1} and abs(step.mean()) < 0.1
    top, left = row[:, 0, 0], column.min(axis=(1, 2))
    for plain in (step == 1, step == -1):
        corners = set(zip(top[plain], left[plain], strict=True))
        assert corners == {(r, c) for r in range(2) for c in range(3)}
    assert (row == top[:, None, None] + np.arange(24)[:, None]).all()
    assert -8 <= degrees.min() < -7 and 7 < degrees.max() <= 8
    assert not fill.any() and not again.any()


def test_augmentation_follows_its_key():
    faces = jnp.asarray(pictures(4, 3, 5, *canvas(24), 3), jnp.float32)
    augment = jax.jit(Model().augment, static_argnums=2)
    first, again, other = (
        np.asarray(augment(jax.random.key(seed), {"faces": faces}, unused)["face"])
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.min() >= 0 and first.max() <= 255


@pytest.mark.parametrize("size", [224, 150])
def test_prepared_are_the_five_frames(size):
    rows, columns = np.mgrid[:224, :224]
    planes = [np.stack([rows / 2 + 20 * n, 255 - columns / 2, 0 * rows + n], -1) for n in range(5)]
    of_onset = [planes[0] * 0] * 2
    clip = PreparedClip("made/up/clip", colour=np.array(of_onset + planes).astype(np.uint8))
    prepared = Model().prepare(clip, flow_method("dis"), size)["faces"]
    assert prepared.dtype == np.uint8
    height, width = canvas(size)
    assert prepared.shape == (5, height, width, 3)
    # Where the pixels' centres lie in the given picture.
    y, x = np.mgrid[:height, :width] + 0.5
    y, x = y * 224 / height - 0.5, x * 224 / width - 0.5
    for n in range(5):
        np.testing.assert_allclose(prepared[n, ..., 0], y / 2 + 20 * n, atol=1.2)
        np.testing.assert_allclose(prepared[n, ..., 1], 255 - x / 2, atol=1.2)
        assert (prepared[n, ..., 2] == n).all()
