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
    unused,
)
from tests.reference import capsule_net as reference

SMALLEST = 129


def pictures(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


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
    monkeypatch.setattr(capsule_net, "jitter", lambda key, faces, most: faces)
    height, width = canvas(24)
    assert (height, width) == (25, 26)
    # Every value encodes its frame, row and column.
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
