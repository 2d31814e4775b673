"""RCN: recurrent convolution with class-activation attention. 55,747 parameters.

Layers and training follow the authors' code with its defaults: 64 channels, pooled to 7×7.
Two of its variants are available. RCN-A, the default, has the attention unit. RCN-W has three
streams with different receptive fields and no attention.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from atnet_jax.models.layers.convolution import Conv
from atnet_jax.models.layers.network import BaseNetwork, Batch, Weight
from atnet_jax.models.layers.pooling import max_pool
from atnet_jax.models.layers.pytorch import BatchNorm, bias_init
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.flow_range import scale_to_unit_range
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.published import Published

INPUTS = ("flow_map",)
TITLE = "RCN"
SOURCE = (
    "Xia, Peng, Khor, Feng, Zhao: Revealing the Invisible with Model and Data Shrinking for"
    " Composite-Database Micro-Expression Recognition, IEEE Transactions on Image Processing 2020,"
    " arXiv 2006.09674"
)
RECIPE = {
    "batch_size": 64,
    "num_epochs": 100,
    "steps_per_epoch": 0,
    "optimizer": "sgd",
    "learning_rate": 5e-4,
    "decay_epochs": 0,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "bias_learning_rate_factor": 1.0,
    "balance_classes": False,
}
PUBLISHED = Published(
    cde={
        "full": (0.7432, 0.7190),
        "casme2": (0.8512, 0.8123),
        "samm": (0.7601, 0.6715),
        "smic": (0.6326, 0.6441),
    },
    note="as quoted by HTNet's authors, who do not name the variant.",
)
DEVIATIONS = (
    "The authors' code contains neither the flow nor the size of its pictures. 60×60 pixels, and"
    " the channels u, v and strain, follow the benchmark of Varanka et al. (MEB).",
    "The authors may have scaled their pictures differently; here each channel of a clip is scaled"
    " to 0…1.",
    "The authors' code divides 0 by 0 where an attention map is constant; here such a map is 0.",
)
PRESETS = {"rcn_a": ({"variant": "a"}, None), "rcn_w": ({"variant": "w"}, None)}

SIZE = 60

_CHANNELS = 64
_POOLED = 7
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def adaptive_average_pool(
    x: Float[Array, "batch height width channel"], size: int
) -> Float[Array, "batch {size} {size} channel"]:
    """Return average pooling to a given size, as in PyTorch's `AdaptiveAvgPool2d`.

    Window k of n covers rows ⌊k·height/n⌋ to ⌈(k+1)·height/n⌉ - 1, so windows may share a row.

    Args:
        x: The pictures.
        size: Height and width of the output.
    """

    def averages(length: int) -> Float32[np.ndarray, "window length"]:
        weights = np.zeros((size, length), np.float32)
        for k in range(size):
            start, end = k * length // size, -(-(k + 1) * length // size)
            weights[k, start:end] = 1 / (end - start)
        return weights

    return jnp.einsum(
        "ih,jw,bhwc->bijc", averages(x.shape[1]), averages(x.shape[2]), x, optimize="greedy"
    )


def class_attention(
    x: Float[Array, "batch height width channel"],
    kernel: Float[Array, "height width channel class"],
) -> Float[Array, "batch height width 1"]:
    """Return the mean of the normalised class activation maps, 0…1.

    The map of a class is the mean over channels of the product of `x` and the classifier's weights.
    Each map is shifted to a minimum of 0 and scaled to a maximum of 1, then averaged over classes.
    A constant map contributes 0 (in the authors' code, NaN).

    Args:
        x: Features, before the last layers.
        kernel: The classifier's weights.
    """
    maps = jnp.einsum("bhwc,hwck->bhwk", x, kernel) / x.shape[-1]
    maps -= maps.min(axis=(1, 2), keepdims=True)
    greatest = maps.max(axis=(1, 2), keepdims=True)
    return (maps / jnp.where(greatest > 0, greatest, 1)).mean(axis=-1, keepdims=True)


class ConvNormReLU(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    size: int
    padding: int

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, weight: jax.Array | None
    ) -> Float[Array, "batch height width channel"]:
        x = _conv(_CHANNELS, self.size, 1, self.padding, x.shape[-1])(x)
        return nn.relu(BatchNorm(name="norm")(x, train, weight))


class RecurrentConvolution(nn.Module):
    """One convolution applied recurrently: twice to its own output plus the input.

    2×2 max-pooling and dropout follow. The normalisation updates its running statistics twice per
    training step.
    """

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, weight: jax.Array | None
    ) -> Float[Array, "batch height width channel"]:
        state = ConvNormReLU(size=1, padding=0, name="feed_forward")(x, train, weight)
        recurrent = ConvNormReLU(size=3, padding=1, name="recurrent")
        for _ in range(2):
            state = recurrent(x + state, train, weight)
        return nn.Dropout(0.5, deterministic=not train)(max_pool(state, size=2, stride=2))


class Streams(nn.Module):
    """Three parallel convolutions of increasing dilation, stride 3: 32, 16 and 16 channels.

    Each is followed by a ReLU and batch normalisation. Dropout follows their concatenation.
    """

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, weight: jax.Array | None
    ) -> Float[Array, "batch height width channel"]:
        streams = []
        for dilation, features in ((1, 32), (2, 16), (3, 16)):
            # With padding equal to its dilation, a 3×3 kernel keeps the picture's borders.
            conv = _conv(features, 3, 3, dilation, x.shape[-1], dilation, f"conv{dilation}")
            streams.append(BatchNorm(name=f"norm{dilation}")(nn.relu(conv(x)), train, weight))
        return nn.Dropout(0.5, deterministic=not train)(jnp.concatenate(streams, axis=-1))


class Classifier(nn.Module):
    """The classifier's weights `[7, 7, 64, 3]` and biases; the attention also uses the weights."""

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "7 7 64 3"], Float[Array, "3"]]:
        shape = (_POOLED, _POOLED, _CHANNELS, len(CLASSES))
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape)
        return kernel, self.param("bias", nn.initializers.zeros, (len(CLASSES),))


def _conv(
    features: int,
    size: int,
    stride: int,
    padding: int,
    channels: int,
    dilation: int = 1,
    name: str = "conv",
) -> Conv:
    """Return a convolution initialised as by the authors: He by fan-out, PyTorch's bias."""
    return Conv(
        features,
        size,
        stride,
        padding,
        use_bias=True,
        dilation=dilation,
        kernel_init=_kernel_init,
        bias_init=bias_init(size * size * channels),
        name=name,
    )


class Model(BaseNetwork):
    """Flow picture `[batch, 60, 60, 3]`, values in 0…1 → logits `[batch, 3]`.

    Attributes:
        variant: "a" has a convolution, the recurrent convolution, and class attention computed from
            the output of the first. "w" has the three streams and the recurrent convolution (52,675
            parameters).
    """

    variant: Literal["a", "w"] = "a"

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of the array that `prepare` returns."""
        return {"flow_picture": (SIZE, SIZE, 3)}

    @nn.nowrap
    def prepare(
        self, clip: PreparedClip, flow: FlowMethod, image_size: int
    ) -> dict[str, Float32[np.ndarray, "60 60 3"]]:
        """Return the onset→apex flow map (u, v, strain), each channel scaled to 0…1."""
        return {"flow_picture": scale_to_unit_range(clip.flow_map_at(SIZE))}

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        kernel, bias = Classifier(name="classifier")()
        x = inputs["flow_picture"]
        if self.variant == "a":
            x = ConvNormReLU(size=5, padding=0, name="stem")(x, train, weight)
            x = nn.Dropout(0.5, deterministic=not train)(max_pool(x, size=2, stride=2))
            attention = class_attention(adaptive_average_pool(x, _POOLED), kernel)
        else:
            x = Streams(name="streams")(x, train, weight)
            attention = 1.0
        x = RecurrentConvolution(name="recurrent_convolution")(x, train, weight)
        x = adaptive_average_pool(x, _POOLED) * attention
        return jnp.einsum("bhwc,hwck->bk", x, kernel) + bias
