"""Floating-point operations of one training sample, layer by layer.

The count includes the multiplications and additions (two operations per pair) of convolutions and
matrix products, with padding zeros. It excludes a few percent: normalisation, activations, pooling,
element-wise operations of gates, augmentation and the optimiser.

The backward pass of a layer costs two products of the size of the forward pass: the gradients of
its weights and of its input. The gradient of the input is not computed if no parameter precedes the
layer: for the input of the first LSTM and for STSTNet's streams. It is computed for conv1, because
the trainable data_bn precedes it.
"""

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
        model: "fusion", "spatial", "temporal" or "ststnet".
        image_size: Height and width of apex frames, in pixels.
        time_steps: Number of time steps of the LSTMs.

    Raises:
        UserError: The model is not supported.
    """
    return sum(layer.training for layer in layers(model, image_size, time_steps))


def layers(model: str, image_size: int = 224, time_steps: int = TIME_STEPS) -> list[Layer]:
    """Return the counted layers; `per_sample` describes the arguments."""
    spatial, temporal = _resnet10(image_size), _lstms(time_steps)
    if model == "fusion":
        return [*spatial, *temporal, _dense("classifier", 2 * HIDDEN)]
    if model == "spatial":
        return [*spatial, _dense("classifier", HIDDEN)]
    if model == "temporal":
        return [*temporal, _dense("classifier", HIDDEN)]
    if model == "ststnet":
        # 28 rows padded by 2 on each side: 30 output rows. Pooled by 3 and by 2: 5.
        streams = _convolution("streams", 3, 3, 16, 30)._replace(input_gradient=False)
        return [streams, _dense("classifier", 5 * 5 * 16)]
    raise UserError(f"Unsupported model {model!r}, expected fusion, spatial, temporal or ststnet.")


def _convolution(name: str, size: int, channels: int, features: int, rows: int) -> Layer:
    """Count a convolution with `size`×`size` kernels and `rows`×`rows` outputs."""
    return Layer(name, 2 * rows * rows * features * size * size * channels)


def _dense(name: str, features: int) -> Layer:
    return Layer(name, 2 * features * len(CLASSES))


def _lstms(time_steps: int) -> list[Layer]:
    """Count two LSTM layers; each step multiplies four gates by its input and previous output."""
    gates = 4 * HIDDEN
    return [
        Layer("lstm1 input", 2 * time_steps * ADM * gates, input_gradient=False),
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
