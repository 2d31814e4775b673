"""HTNet: transformers on four regions of the flow map, in three levels. 139,582,982 parameters.

Input, layers and training follow the authors' code. Its blocks compute attention in windows
of 1×1 positions, in which each position can only attend to itself.
"""

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from atnet_jax.models.layers.network import BaseNetwork, Batch, Weight
from atnet_jax.models.layers.pooling import max_pool
from atnet_jax.models.layers.pytorch import conv, kernel_init, linear
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.flow_range import scale_to_unit_range
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.published import Published

INPUTS = ("flow_map", "landmarks")
TITLE = "HTNet"
SOURCE = (
    "Wang, Zhang, Luo, Sankaranarayana: HTNet for micro-expression recognition, Neurocomputing"
    " 2024, arXiv 2307.14637"
)
RECIPE = {
    "batch_size": 256,
    "num_epochs": 800,
    "steps_per_epoch": 0,
    "optimizer": "adam",
    "learning_rate": 5e-5,
    "decay_epochs": 0,
    "weight_decay": 0.0,
    "bias_learning_rate_factor": 1.0,
    "balance_classes": False,
}
PUBLISHED = Published(
    cde={
        "full": (0.8603, 0.8475),
        "casme2": (0.9532, 0.9516),
        "samm": (0.8131, 0.8124),
        "smic": (0.8049, 0.7905),
    },
    note="the best epoch on each test subject. The predictions published with the code give 0.8313"
    " and 0.8175.",
)
DEVIATIONS = (
    "The flow comes from the prepared data (config.data.flow). The authors read STSTNet's flow"
    " maps, which come from a different program.",
    "The network after the last epoch is tested; the authors' code selects the best epoch on each"
    " test subject.",
    "The authors locate eyes and mouth in the apex frame reduced to 28×28 pixels; here they are"
    " located in the face crop.",
    "Clips are shuffled; in the authors' code they have the same order in every epoch.",
)

SIZE = 28
CROP = 14

# Positions of eyes, nose and mouth in the authors' code if it finds no face: x, y in pixels of
# 28×28.
FALLBACK = np.array(
    [
        [9.528073, 11.062551],
        [21.396168, 10.919773],
        [15.380184, 17.380562],
        [10.255435, 22.121233],
        [20.583706, 22.25584],
    ],
    np.float32,
)


def region_centres(landmarks: Float32[np.ndarray, "5 2"] | None) -> Int[np.ndarray, "4 2"]:
    """Return the centres of the regions: left and right eye, left and right corner of the mouth.

    Args:
        landmarks: x, y in pixels of the 224×224 crop: eyes, nose, corners of the mouth; None if
            unknown.

    Returns:
        x and y in whole pixels of the 28×28 map, limited so that each region lies within the map.
    """
    points = FALLBACK if landmarks is None else landmarks * (SIZE / 224)
    return points[[0, 1, 3, 4]].clip(CROP // 2, SIZE - CROP // 2).astype(int)


def tile_regions(
    grey_map: UInt8[np.ndarray, "28 28 3"], centres: Int[np.ndarray, "4 2"]
) -> UInt8[np.ndarray, "28 28 3"]:
    """Tile four regions of 14×14 pixels into one picture: eyes above, corners of the mouth below.

    As in the authors' code, x selects rows and y selects columns. Each region is therefore centred
    on its point mirrored at the diagonal: the "right eye" is in the map's lower left.

    Args:
        grey_map: The map.
        centres: x and y of the regions, as `region_centres` returns them.

    Returns:
        The picture.
    """
    half = CROP // 2
    eye_left, eye_right, mouth_left, mouth_right = (
        grey_map[x - half : x + half, y - half : y + half] for x, y in centres
    )
    return np.block([[[eye_left], [eye_right]], [[mouth_left], [mouth_right]]])


def _norm(name: str) -> nn.LayerNorm:
    """Return a layer that normalises the channels of each position."""
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)


class Attention(nn.Module):
    """Attention of each position to itself only: its values, then a linear layer.

    The softmax over the single position of a window is always 1. Queries and keys therefore have no
    effect and are not computed. Their weights remain, so that the network has all parameters of the
    published one. Their gradient is zero in both networks.
    """

    heads: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch height width channel"]:
        channels = x.shape[-1]
        inner = channels // self.heads * self.heads
        self.param("query_key", kernel_init, (channels, 2 * inner))
        value = nn.Dense(inner, use_bias=False, kernel_init=kernel_init, name="value")(x)
        return linear(channels, "out", value)


class Block(nn.Module):
    """Attention, then a perceptron (GELU, 4 times as wide); both pre-normalised and residual."""

    heads: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch height width channel"]:
        channels = x.shape[-1]
        x += Attention(self.heads, name="attention")(_norm("attention_norm")(x))
        hidden = linear(4 * channels, "wide", _norm("perceptron_norm")(x))
        return x + linear(channels, "narrow", nn.gelu(hidden, approximate=False))


class Aggregate(nn.Module):
    """Merging of neighbours: 3×3 convolution, normalisation, 3×3 max-pooling with stride 2."""

    channels: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width before"]
    ) -> Float[Array, "batch half_height half_width channel"]:
        x = conv(self.channels, 3, "conv", x, padding=1)
        return max_pool(_norm("norm")(x), size=3, stride=2, padding=1)


class Hierarchy(nn.Module):
    """Picture `[batch, 28, 28, 3]` → features `[batch, 4 · width]`.

    Patches of 7×7 pixels give 4×4 positions. Each later level halves height and width and doubles
    channels and heads.

    Attributes:
        width: Number of channels of the first level.
        heads: Number of attention heads of the first level.
        blocks: Number of blocks of each level.
    """

    width: int
    heads: int
    blocks: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "batch 28 28 3"]) -> Float[Array, "batch features"]:
        x = x.reshape(-1, 4, 7, 4, 7, 3).swapaxes(2, 3).reshape(-1, 4, 4, 147)
        x = linear(self.width, "patches", x)
        for level, blocks in enumerate(self.blocks):
            if level:
                x = Aggregate(self.width << level, name=f"aggregate{level}")(x)
            # One learnt number for the single position of every window. That of the last level has
            # no effect: it shifts all channels equally, and every later layer normalises them.
            x += self.param(f"position{level}", nn.initializers.normal(1.0), (1,))
            for block in range(blocks):
                x = Block(self.heads << level, name=f"level{level}_block{block}")(x)
        return _norm("norm")(x).mean(axis=(1, 2))


class Model(BaseNetwork):
    """Regions of the flow map `[batch, 28, 28, 3]`, 0…255 → logits `[batch, 3]`."""

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of the array that `prepare` returns."""
        return {"regions": (SIZE, SIZE, 3)}

    @nn.nowrap
    def prepare(
        self, clip: PreparedClip, flow: FlowMethod, image_size: int
    ) -> dict[str, UInt8[np.ndarray, "28 28 3"]]:
        """Return regions of the onset→apex flow map, with each channel scaled to 0…255.

        The channels are strain, v, u, the order in which the authors' code reads its pictures.
        """
        grey_map = np.rint(255 * scale_to_unit_range(clip.flow_map_at(SIZE))).astype(np.uint8)
        return {"regions": tile_regions(grey_map[..., ::-1], region_centres(clip.landmarks))}

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        x = Hierarchy(width=256, heads=3, blocks=(2, 2, 10), name="hierarchy")(inputs["regions"])
        return linear(len(CLASSES), "classifier", x)
