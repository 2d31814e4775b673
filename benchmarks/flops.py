"""Floating-point operations of one training sample, layer by layer.

The count includes the multiplications and additions (two operations per pair) of convolutions and
matrix products, with padding zeros. It excludes a few percent: normalisation, activations, pooling,
element-wise operations of gates, augmentation and the optimiser.

The backward pass of a layer costs two products of the size of the forward pass: the gradients of
its weights and of its input. The gradient of the input is not computed if no parameter precedes the
layer, as for the input of the first LSTM. It is computed for ATNet's conv1, because the trainable
data_bn precedes it. HTNet's queries and keys, which have no effect, do not count.
"""

from collections.abc import Callable
from typing import NamedTuple

from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES

TIME_STEPS = 64
ADM = 128  # features per time step
HIDDEN = 512


class Layer(NamedTuple):
    """Operations of one layer for one sample.

    Attributes:
        name: Name of the layer in the network.
        forward: Operations of the forward pass.
        input_gradient: True if the backward pass computes the gradient of the layer's input.
    """

    name: str
    forward: int
    input_gradient: bool = True

    @property
    def training(self) -> int:
        """Operations of the forward and backward pass."""
        return self.forward * (3 if self.input_gradient else 2)


def per_sample(model: str, image_size: int = 224, time_steps: int = TIME_STEPS) -> int:
    """Return the operations of a forward and a backward pass on one sample.

    Args:
        model: Name of the method, one of `MODELS`.
        image_size: Height and width of apex frames, in pixels.
        time_steps: Number of time steps of the LSTMs.

    Raises:
        UserError: The method has no count.
    """
    return sum(layer.training for layer in layers(model, image_size, time_steps))


def layers(model: str, image_size: int = 224, time_steps: int = TIME_STEPS) -> list[Layer]:
    """Return the counted layers; `per_sample` describes the arguments."""
    if model not in MODELS:
        raise UserError(f"Unsupported model {model!r}, expected one of {', '.join(MODELS)}.")
    return MODELS[model](image_size, time_steps)


def _convolution(name: str, size: int, channels: int, features: int, rows: int) -> Layer:
    """Count a convolution with `size`×`size` kernels and `rows`×`rows` outputs."""
    return Layer(name, 2 * rows * rows * features * size * size * channels)


def _dense(name: str, features: int, outputs: int = len(CLASSES), positions: int = 1) -> Layer:
    """Count a linear layer, applied at each of several positions."""
    return Layer(name, 2 * positions * features * outputs)


def _first(layer: Layer) -> Layer:
    """Return the count of a layer that no parameter precedes."""
    return layer._replace(input_gradient=False)


def _lstms(time_steps: int) -> list[Layer]:
    """Count two LSTM layers; each step multiplies four gates by its input and previous output."""
    gates = 4 * HIDDEN
    return [
        _first(Layer("lstm1 input", 2 * time_steps * ADM * gates)),
        Layer("lstm1 recurrent", 2 * time_steps * HIDDEN * gates),
        Layer("lstm2 input", 2 * time_steps * HIDDEN * gates),
        Layer("lstm2 recurrent", 2 * time_steps * HIDDEN * gates),
    ]


def _resnet10(image_size: int) -> list[Layer]:
    rows = (image_size - 1) // 2 + 1  # 7×7, stride 2, padding 3
    found = [_convolution("conv1", 7, 1, 64, rows)]
    rows = -((3 - rows) // 2) + 1  # 3×3 pooling, stride 2, rounded up
    found += [_convolution(f"layer_64_1_conv{k}", 3, 64, 64, rows) for k in (1, 2)]
    for channels in (128, 256, 512):
        rows = (rows - 1) // 2 + 1  # 3×3, stride 2, padding 1; 1×1, stride 2
        layer = f"layer_{channels}_1"
        found += [
            _convolution(f"{layer}_conv1", 3, channels // 2, channels, rows),
            _convolution(f"{layer}_conv2", 3, channels, channels, rows),
            _convolution(f"{layer}_conv_expand", 1, channels // 2, channels, rows),
        ]
    return found


def _ststnet() -> list[Layer]:
    # 28 rows padded by 2 on each side: 30 output rows. Pooled by 3 and by 2: 5.
    streams = _first(_convolution("streams", 3, 3, 16, 30))
    return [streams, _dense("classifier", 5 * 5 * 16)]


def _sssnet() -> list[Layer]:
    # 64 rows: 60 after conv1, pooled by 3 to 20; 18 after conv2, pooled by 2 to 9.
    return [
        _first(_convolution("conv1", 5, 3, 32, 60)),
        _convolution("conv2", 3, 32, 64, 18),
        _dense("hidden", 9 * 9 * 64, 256),
        _dense("classifier", 256),
    ]


def _off_apexnet() -> list[Layer]:
    found = []
    for stream in ("u", "v"):
        found += [
            _first(_convolution(f"{stream}/conv1", 5, 1, 6, 28)),
            _convolution(f"{stream}/conv2", 5, 6, 16, 14),
        ]
    hidden = [_dense("hidden1", 2 * 7 * 7 * 16, 1024), _dense("hidden2", 1024, 1024)]
    return [*found, *hidden, _dense("classifier", 1024)]


def _dual_inception() -> list[Layer]:
    found = []
    for stream in ("u", "v"):
        for number, channels, filters, rows in ((1, 3, 6, 28), (2, 24, 16, 14)):
            for name, size, before in (
                ("alone", 1, channels),
                ("before_conv3", 1, channels),
                ("conv3", 3, filters),
                ("before_conv5", 1, channels),
                ("conv5", 5, filters),
                ("after_pool", 1, channels),
            ):
                path = f"{stream}/inception{number}/{name}"
                layer = _convolution(path, size, before, filters, rows)
                found.append(_first(layer) if before == 3 else layer)
    return [*found, _dense("hidden", 2 * 7 * 7 * 64, 1024), _dense("classifier", 1024)]


def _rcn() -> list[Layer]:
    # 60 rows: 56 after the stem, pooled by 2 to 28.
    return [
        _first(_convolution("stem", 5, 3, 64, 56)),
        _convolution("feed_forward", 1, 64, 64, 28),
        _convolution("recurrent, first time", 3, 64, 64, 28),
        _convolution("recurrent, second time", 3, 64, 64, 28),
        _dense("attention", 64, positions=7 * 7),
        _dense("classifier", 7 * 7 * 64),
    ]


def _htnet() -> list[Layer]:
    found = [_first(_dense("patches", 7 * 7 * 3, 256, 16))]
    for level, (blocks, rows) in enumerate(((2, 4), (2, 2), (10, 1))):
        channels, positions = 256 << level, rows * rows
        if level:
            before = _convolution(f"aggregate{level}", 3, channels // 2, channels, 2 * rows)
            found.append(before)
        inner = channels // (3 << level) * (3 << level)
        for block in range(blocks):
            for name, features, outputs in (
                ("value", channels, inner),
                ("out", inner, channels),
                ("wide", channels, 4 * channels),
                ("narrow", 4 * channels, channels),
            ):
                path = f"level{level}_block{block}/{name}"
                found.append(_dense(path, features, outputs, positions))
    return [*found, _dense("classifier", 1024)]


# Layers of each method, from the size of apex frames and the number of time steps.
MODELS: dict[str, Callable[[int, int], list[Layer]]] = {
    "fusion": lambda size, steps: [
        *_resnet10(size), *_lstms(steps), _dense("classifier", 2 * HIDDEN)
    ],
    "spatial": lambda size, _: [*_resnet10(size), _dense("classifier", HIDDEN)],
    "temporal": lambda _, steps: [*_lstms(steps), _dense("classifier", HIDDEN)],
    "ststnet": lambda *_: _ststnet(),
    "rcn": lambda *_: _rcn(),
    "sssnet": lambda *_: _sssnet(),
    "dual_inception": lambda *_: _dual_inception(),
    "off_apexnet": lambda *_: _off_apexnet(),
    "htnet": lambda *_: _htnet(),
}  # fmt: skip
