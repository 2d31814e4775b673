"""MMNet: continuous attention on the motion, and a map of positions. 9,241,719 parameters.

Layers and training follow the authors' published program, without its unused layers.
"""

from collections.abc import Callable

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from atnet_jax.models.layers.convolution import Conv
from atnet_jax.models.layers.network import BaseNetwork, Batch, Prepared, Weight
from atnet_jax.models.layers.pooling import largest, max_pool
from atnet_jax.models.layers.pytorch import BatchNorm, linear
from atnet_jax.models.layers.resampling import mirror_some, turn_and_cut
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("colour", "frames")
TITLE = "MMNet"
SOURCE = (
    "Li, Sui, Zhu, Zhao: MMNet: Muscle Motion-Guided Network for Micro-Expression Recognition,"
    " IJCAI 2022"
)
RECIPE = {
    "batch_size": 24,
    "num_epochs": 99,
    "steps_per_epoch": 0,
    "optimizer": "adamw",
    "learning_rate": 8e-4,
    "decay_epochs": 1,
    "decay_factor": 0.987,
    "decay_stops": 50,
    "weight_decay": 0.7,
    "bias_learning_rate_factor": 1.0,
    "balance_classes": False,
}
DEVIATIONS = (
    "The publication evaluates on CASME II only, with three different classes: happiness, surprise"
    " and all others.",
    "The network after the last epoch is tested, not the best epoch on the test subject.",
    "Onset and apex are drawn at most one frame away from their annotated position. The publication"
    " draws from a wider range in clips with more than 39 frames from the onset to the apex or more"
    " than 53 frames on a side of the apex.",
    "The face crop comes from this project's preparation, not from the crops supplied with CASME"
    " II.",
)

# Shares of onset–apex and of apex–offset from which training draws an onset or an apex.
_ONSET_SHARE = 0.2 / 4
_APEX_SHARE = 0.15 / 4
_ROTATION = 4.0
# In pixels of pictures of 224×224.
_SHIFT = 4
_MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = 255 * np.array([0.229, 0.224, 0.225], np.float32)

_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_narrow = nn.initializers.normal(0.02)


class AttentionBlock(nn.Module):
    """Continuous attention: a residual block and a map of weights for its output.

    Attributes:
        features: Number of output channels.
        stride: Stride of the first convolution.
    """

    features: int
    stride: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        attention: Float[Array, "batch rows columns 1"] | None,
        train: bool,
        weight: Float[Array, " batch"] | None,
    ) -> tuple[Float[Array, "batch rows columns features"], Float[Array, "batch rows columns 1"]]:
        """Apply the block; `attention` is the previous block's map at this size, or None."""

        def conv_norm(
            name: str, x: jax.Array, features: int, size: int, stride: int = 1
        ) -> jax.Array:
            conv = Conv(features, size, stride, size // 2, kernel_init=_he, name=f"{name}_conv")
            return BatchNorm(name=f"{name}_bn")(conv(x), train, weight)

        y = nn.relu(conv_norm("first", x, self.features, 3, self.stride))
        y = conv_norm("second", y, self.features, 1)
        if y.shape != x.shape:
            x = conv_norm("shortcut", x, self.features, 1, self.stride)
        x = nn.relu(x + y)
        seen = jnp.stack([x.mean(axis=-1), largest(x, -1)], axis=-1)
        own = nn.sigmoid(conv_norm("attention", seen, 1, 1))
        attention = own if attention is None else attention * own
        return x * attention, attention


class TransformerBlock(nn.Module):
    """Self-attention of four heads, then two linear layers; both pre-normalised and residual.

    Attributes:
        dropped: Share of clips for which training omits the residual (stochastic depth).
    """

    dropped: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch place size"], train: bool
    ) -> Float[Array, "batch place size"]:
        def dense(name: str, x: jax.Array, features: int) -> jax.Array:
            return nn.Dense(features, kernel_init=_narrow, name=name)(x)

        def norm(name: str, x: jax.Array) -> jax.Array:
            return nn.LayerNorm(epsilon=1e-6, name=name)(x)

        def drop(x: jax.Array) -> jax.Array:
            return nn.Dropout(self.dropped, broadcast_dims=(1, 2), deterministic=not train)(x)

        size = x.shape[-1]
        parts = dense("qkv", norm("norm1", x), 3 * size)
        parts = parts.reshape(*x.shape[:2], 3, 4, size // 4)
        query, key, value = jnp.moveaxis(parts, 2, 0)
        logits = jnp.einsum("bqhs,bkhs->bhqk", query, key) / np.sqrt(size // 4)
        seen = jnp.einsum("bhqk,bkhs->bqhs", nn.softmax(logits), value)
        x += drop(dense("projection", seen.reshape(x.shape), size))
        y = nn.gelu(dense("first", norm("norm2", x), 2 * size), approximate=False)
        return x + drop(dense("second", y, size))


class Positions(nn.Module):
    """Position calibration: map of the positions of facial parts, `[batch, rows, columns, 512]`.

    A small transformer computes the map from the onset frame, reduced to the size of the map.
    """

    rows: int
    columns: int
    size: int = 512

    @nn.compact
    def __call__(
        self, onset: Float[Array, "batch height width 3"], train: bool
    ) -> Float[Array, "batch rows columns size"]:
        shape = (len(onset), self.rows, self.columns)
        x = jax.image.resize(onset, (*shape, 3), "linear", antialias=False)
        x = linear(self.size, "embed", x).reshape(len(onset), -1, self.size)
        x += self.param("place", _narrow, x.shape[1:])
        for number, dropped in enumerate((0.0, 0.15, 0.3), 1):
            x = TransformerBlock(dropped, name=f"block{number}")(x, train)
        return nn.LayerNorm(epsilon=1e-6, name="norm")(x).reshape(*shape, self.size)


class Model(BaseNetwork):
    """Onset and apex in colour → logits `[batch, 3]`.

    The inputs are "onset" `[batch, 2, size, size, 3]` and "apex" `[batch, 3, size, size, 3]`, RGB
    0…255. The onset is the first frame of "onset", the apex the second of "apex". `augment` selects
    one frame of each, with the help of "reach". Sizes other than 224×224 change the number of
    positions and of the classifier's weights.
    """

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        onset, apex = inputs["onset"], inputs["apex"]
        if onset.ndim == 5:
            onset, apex = onset[:, 0], apex[:, 1]
        x = Conv(180, 3, 2, 1, kernel_init=_he, name="motion_conv")((apex - onset) / _SPREAD)
        x = nn.relu(BatchNorm(name="motion_bn")(x, train, weight))
        x = Conv(128, 3, 1, 1, kernel_init=_he, name="conv1")(x)
        x = nn.relu(BatchNorm(name="bn1")(x, train, weight))
        attention = None
        for number, (features, stride) in enumerate(((128, 1), (128, 2), (256, 2), (512, 2)), 1):
            if attention is not None:
                attention = max_pool(attention, 3, 2, 1)
            block = AttentionBlock(features, stride, name=f"block{number}")
            x, attention = block(x, attention, train, weight)
        x = x.astype(jnp.float32)
        x += Positions(x.shape[1], x.shape[2], name="positions")((onset - _MEAN) / _SPREAD, train)
        return linear(len(CLASSES), "classifier", x.reshape(len(x), -1))

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        picture = (image_size, image_size, 3)
        return {"onset": (2, *picture), "apex": (3, *picture), "reach": (3,)}

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """Return onset, apex, neighbouring frames, and how many of these training may draw.

        "reach" is the number of frames in the range of each draw: after the onset, before the apex,
        after the apex. It is at most 1, since only one neighbouring frame is kept.
        """
        assert clip.frames is not None

        def resized(pictures: np.ndarray) -> np.ndarray:
            size = (image_size, image_size)
            return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures])

        # Where the clip is longer than the window of `frames`, the share exceeds 1 frame anyway.
        before, after = clip.apex_index, len(clip.frames) - 1 - clip.apex_index
        shares = (_ONSET_SHARE * before, _APEX_SHARE * before, _APEX_SHARE * after)
        return {
            "onset": resized(clip.colour_onset),
            "apex": resized(clip.colour_apex[1:4]),
            "reach": np.array([min(int(share), 1) for share in shares], np.float32),
        }

    @nn.nowrap
    def augment(self, key: PRNGKeyArray, inputs: Batch, change_apex: Callable) -> Batch:
        """Return a drawn onset and apex, both mirrored, rotated and shifted equally.

        Areas from outside the picture have the mean colour in both frames, so they have no motion.
        """
        onset_key, apex_key, mirror_key, angle_key, shift_key = jax.random.split(key, 5)
        onset, apex = inputs["onset"], inputs["apex"]
        batch, size = len(onset), onset.shape[2]
        after_onset, before_apex, after_apex = inputs["reach"].astype(jnp.int32).T
        rows = jnp.arange(batch)
        onset = onset[rows, jax.random.randint(onset_key, (batch,), 0, after_onset + 1)]
        drawn = jax.random.randint(apex_key, (batch,), 1 - before_apex, 2 + after_apex)
        both = jnp.concatenate([onset, apex[rows, drawn]], axis=-1)
        both = mirror_some(both, mirror_key)
        degrees = jax.random.uniform(angle_key, (batch,), minval=-_ROTATION, maxval=_ROTATION)
        shift = round(_SHIFT * size / 224)
        corner = jax.random.randint(shift_key, (batch, 2), -shift, shift + 1)
        both = turn_and_cut(both, degrees, corner, (size, size), jnp.tile(_MEAN, 2))
        return {"onset": both[..., :3], "apex": both[..., 3:]}
