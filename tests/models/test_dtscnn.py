import jax.numpy as jnp
import numpy as np
import pytest

from atnet_jax.models.dtscnn import Convolution3D, Model
from atnet_jax.models.handcrafted.tim import interpolate_frames
from atnet_jax.preprocessing.optical_flow import FlowMethod, flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip


def test_convolution_sees_the_step_before_and_the_step_after():
    x = jnp.zeros((1, 6, 5, 5, 1)).at[0, 3, 2, 2, 0].set(1)
    layer = Convolution3D(1)
    kernel = jnp.arange(1.0, 28).reshape(3, 3, 3, 1)
    params = {"params": {"conv": {"kernel": kernel, "bias": jnp.zeros(1)}}}
    out = np.asarray(layer.apply(params, x))[0, ..., 0]
    seen = {tuple(place) for place in np.argwhere(out).tolist()}
    assert seen == {(t, r, c) for t in (2, 3, 4) for r in (1, 2, 3) for c in (1, 2, 3)}
    # At the step before, what comes after it counts: the kernel's last channels.
    assert np.array_equal(out[2, 1:4, 1:4], kernel[::-1, ::-1, 2, 0])


def clip_of(frames: np.ndarray) -> PreparedClip:
    return PreparedClip("made/up/clip", frames=frames.astype(np.uint8), apex_index=len(frames) // 2)


def test_prepared_are_flows_of_the_interpolated_clip():
    frames = np.random.default_rng(0).integers(0, 256, (7, 224, 224)).astype(np.uint8)

    def solve(first, second):
        return np.stack([second - first, first + second], axis=-1)

    prepared = Model().prepare(clip_of(frames), FlowMethod(solve), 56)
    assert {name: array.shape for name, array in prepared.items()} == Model().input_shapes(56)
    for steps in (64, 128):
        clip = interpolate_frames(frames, steps + 1).astype(np.float64)
        expected = np.zeros((steps, 28, 28, 2))
        for row in range(28):
            for column in range(28):
                cell = clip[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].mean((1, 2))
                expected[:, row, column, 0] = steps * (cell[1:] - cell[:-1])
                expected[:, row, column, 1] = steps * (cell[1:] + cell[:-1])
        got = prepared[f"flow_{steps}"]
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=0.02)


def test_prepared_frames_are_smoothed_as_the_flow_asks():
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(100, 156, (6, 1, 1)), 224, axis=1).repeat(224, axis=2)

    def solve(first, second):
        return np.stack([second - first] * 2, axis=-1)

    rough, smooth = (
        Model().prepare(clip_of(frames), FlowMethod(solve, sigma), 224)["flow_64"]
        for sigma in (0.0, 2.0)
    )
    assert np.abs(rough).max() > 20 * np.abs(smooth).max()


@pytest.mark.parametrize("count", [1, 5])
def test_still_clip_has_no_flow(count):
    frame = np.random.default_rng(0).integers(0, 256, (224, 224))
    still = clip_of(np.repeat(frame[None], count, axis=0))
    prepared = Model().prepare(still, flow_method("dis_ultrafast"), 224)
    assert all(np.abs(flow).max() < 0.01 for flow in prepared.values())


def test_both_streams_have_the_whole_motion_as_their_unit():
    """A picture that goes 6 pixels to the right and 3 up over the clip."""
    y, x = np.mgrid[:224, :224]
    frames = [
        128 + 50 * np.sin((x - 6 * t) / 7) + 50 * np.cos((y + 3 * t) / 6)
        for t in np.linspace(0, 1, 13)
    ]
    prepared = Model().prepare(clip_of(np.rint(frames)), flow_method("farneback"), 224)
    for flow in prepared.values():
        inner = flow[8:-8, 6:-6, 6:-6].astype(np.float32).mean(axis=(0, 1, 2))
        np.testing.assert_allclose(inner, [6, -3], rtol=0.15)
