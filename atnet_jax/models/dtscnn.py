"""DTSCNN: two streams on the clip's flow at two temporal scales. 85,923 parameters.

The implementation follows the publication in its two independent shallow streams over 64 and 128
steps of optical flow, with four layers of 3-D convolution and pooling each, and in one linear
classifier on the features of both streams.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from atnet_jax.models.handcrafted.tim import interpolate_frames
from atnet_jax.models.layers.convolution import Conv
from atnet_jax.models.layers.network import BaseNetwork, Batch, Prepared, Weight
from atnet_jax.models.layers.pooling import largest, max_pool
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("frames",)
TITLE = "DTSCNN"
SOURCE = (
    "Peng, Wang, Chen, Liu, Fu: Dual Temporal Scale Convolutional Neural Network for"
    " Micro-Expression Recognition, Frontiers in Psychology 2017"
)
RECIPE = {
    "batch_size": 16,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "decay_epochs": 0,
    "weight_decay": 1e-3,
    "bias_learning_rate_factor": 1.0,
}
DEVIATIONS = (
    "The sizes of input and kernels are not known. The flow here has 28×28 pixels, and each stream"
    " has two 3×3×3 convolutions (16, then 32 filters), each followed by pooling over 4 steps and"
    " 2×2 places.",
    "A softmax layer, trained with the streams, replaces the linear SVM on their features.",
    "The optimiser is not known; Adam at 0.0001 with weight decay 0.001 is used instead.",
    "The publication evaluates on CASME and CASME II with four classes, each augmented to 500 clips"
    " by an unknown procedure; here classes are balanced by repeating clips.",
    "Only the frames around the apex, at most 32 on each side, are interpolated.",
)

STEPS = (64, 128)
_SIZE = 28
# Size in time of each of a stream's two poolings; the size in both directions of space is 2.
_POOLED_STEPS = 4


class Convolution3D(nn.Module):
    """3×3×3 convolution with zero padding: `[batch, time, height, width, channel]`.

    Each step is stacked with the steps before and after it as a picture with three times the
    channels. This turns the 3-D convolution into a 2-D one, which is much faster on a CPU.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time height width channel"]
    ) -> Float[Array, "batch time height width {self.features}"]:
        batch, time = x.shape[:2]
        padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
        stacked = jnp.concatenate([padded[:, start : start + time] for start in range(3)], axis=-1)
        pictures = stacked.reshape(batch * time, *stacked.shape[2:])
        y = Conv(self.features, 3, 1, 1, use_bias=True, name="conv")(pictures)
        return y.reshape(batch, time, *y.shape[1:])


def pool(
    x: Float[Array, "batch time height width channel"],
) -> Float[Array, "batch pooled_time pooled_height pooled_width channel"]:
    """Return the maximum over 4 steps and 2×2 places."""
    batch, time, *_, channels = x.shape
    x = largest(x.reshape(batch, time // _POOLED_STEPS, _POOLED_STEPS, *x.shape[2:]), 2)
    pooled = max_pool(x.reshape(-1, *x.shape[2:]), 2, 2)
    return pooled.reshape(*x.shape[:2], *pooled.shape[1:3], channels)


class Stream(nn.Module):
    """A sequence of flows `[batch, time, 28, 28, 2]` → features, `time / 16 · 7 · 7 · 32`."""

    @nn.compact
    def __call__(self, flows: Float[Array, "batch time 28 28 2"]) -> Float[Array, "batch feature"]:
        x = pool(nn.relu(Convolution3D(16, name="conv1")(flows)))
        x = pool(nn.relu(Convolution3D(32, name="conv2")(x)))
        return x.astype(jnp.float32).reshape(len(x), -1)


class Model(BaseNetwork):
    """Flow of the clip in 64 and in 128 steps → logits `[batch, 3]`.

    The inputs are "flow_64" and "flow_128", `[batch, step, 28, 28, 2]`.
    """

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        streams = [Stream(name=f"stream_{steps}")(inputs[f"flow_{steps}"]) for steps in STEPS]
        features = jnp.concatenate(streams, axis=-1)
        narrow = nn.initializers.normal(0.01)
        return nn.Dense(len(CLASSES), kernel_init=narrow, name="classifier")(features)

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        return {f"flow_{steps}": (steps, _SIZE, _SIZE, 2) for steps in STEPS}

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """Return flows between neighbouring frames of the clip interpolated to 65 and 129 frames.

        u and v are in pixels of the 224×224 crop per whole clip: the flow of one step is multiplied
        by the number of steps, so that both scales are comparable. Flows are averaged over areas to
        28×28.
        """
        assert clip.frames is not None
        smooth = flow.smooth(clip.frames)
        prepared = {}
        for steps in STEPS:
            frames = interpolate_frames(smooth, steps + 1)
            flows = steps * flow.solve(frames[:-1], frames[1:])
            side = flows.shape[1] // _SIZE
            cells = flows.reshape(steps, _SIZE, side, _SIZE, side, 2).mean(axis=(2, 4))
            prepared[f"flow_{steps}"] = cells.astype(np.float16)
        return prepared
