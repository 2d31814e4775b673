"""Mapping of a .caffemodel's layers to the parameters of our networks, by the release's names."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from atnet_jax import models
from atnet_jax.errors import UserError
from atnet_jax.models.layers.batch_norm import EPSILON
from atnet_jax.weights.caffe_grey import to_one_channel
from atnet_jax.weights.folder import Weights

# Our names of a Caffe layer's blobs, in Caffe's order.
_BLOBS = (
    ("mean_sum", "variance_sum", "weight_sum"),  # BatchNorm
    ("scale", "bias"),  # Scale
    ("kernel", "bias"),  # Convolution and InnerProduct
    ("input_kernel", "gate_bias", "recurrent_kernel"),  # LSTM
)
# Number of axes → our axes in Caffe's order. Caffe stores our convolutions [height, width, in, out]
# as [out, in, height, width] and our matrices [in, out] as [out, in].
_CAFFE_AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,), 0: ()}
_INPUT_LAYERS = ("conv1", "data_bn", "data_scale")
_DAMAGED = "The file is damaged; copy it again."


@dataclasses.dataclass(frozen=True)
class Target:
    """Destination of a blob: an array of our network."""

    collection: str
    path: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def caffe_shape(self) -> tuple[int, ...]:
        """The shape of the blob."""
        return tuple(self.shape[axis] for axis in _CAFFE_AXES[len(self.shape)])

    def from_caffe(self, blob: np.ndarray) -> np.ndarray:
        """Return the blob with our order of axes."""
        return blob.transpose(np.argsort(_CAFFE_AXES[len(self.shape)]))


def network_layers(model: str) -> dict[str, list[Target]]:
    """Map Caffe's name of each layer of a network to its blobs' targets, in Caffe's order."""
    network = models.find(model).build_network()
    inputs = {name: jnp.zeros((2, *shape)) for name, shape in network.input_shapes(224).items()}
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    variables = jax.eval_shape(lambda: network.init(keys, inputs, train=True))
    arrays: dict[str, dict[str, Target]] = {}
    for collection in ("params", "batch_stats"):
        leaves: dict[Any, Any] = traverse_util.flatten_dict(variables[collection])
        for path, leaf in leaves.items():
            layer, name = path[-2:]
            if path[0] == "classifier":
                layer = f"classifier-{layer}"
            elif "_bn" in layer and collection == "params":
                layer = layer.replace("_bn", "_scale")
            arrays.setdefault(layer, {})[name] = Target(collection, path, leaf.shape)

    def ordered(found: dict[str, Target]) -> list[Target]:
        names = next(names for names in _BLOBS if found.keys() <= set(names))
        return [found[name] for name in names if name in found]

    return {layer: ordered(found) for layer, found in arrays.items()}


def map_layers(layers: Mapping[str, Sequence[np.ndarray]], model: str) -> Weights:
    """Map the layers of a .caffemodel to one of our networks (`CAFFE_MODELS`).

    Three-channel input layers are converted to one channel; see `caffe_grey`. The blobs of batch
    normalisation, the sums and their divisor, are kept as they are. A divisor of 0 means that the
    layer was never trained, and its statistics count as absent.

    Args:
        layers: Caffe's layer name → blobs in Caffe's order.
        model: Name of the network.

    Returns:
        The weights of the layers found. `about` lists layers by Caffe's names: "imported" layers
        are in the file and the network; "absent" layers of the network are not in the file or were
        not trained; "ignored" layers of the file are not in the network. Its "notes" are sentences
        for the user.

    Raises:
        UserError: A layer has the wrong shape, batch normalisation has impossible statistics, or
            the network has none of the layers.
    """
    targets = network_layers(model)
    shapes = {name: [target.caffe_shape for target in targets[name]] for name in targets}
    colour = _has_three_channels(layers)
    if colour:
        shapes["conv1"] = [(64, 3, 7, 7), (64,)]
        shapes |= {"data_bn": [(3,), (3,), ()], "data_scale": [(3,), (3,)]}
    blobs = {name: _shaped(name, layers[name], shapes[name]) for name in targets if name in layers}
    if not blobs:
        raise UserError(
            f"None of the file's layers ({_some(layers)}) belongs to the {model} network"
            f" ({_some(targets)}). Give weights of that network, or of an ImageNet ResNet-10 with"
            f" the same layer names."
        )

    notes = []
    for name in [name for name in blobs if targets[name][0].path[-1] == "mean_sum"]:
        _, variance_sum, factor = blobs[name]
        if factor < 0:
            raise UserError(
                f"Layer {name!r}: The divisor of the statistics is {factor}, expected 0 or more."
                f" {_DAMAGED}"
            )
        if factor == 0:
            notes.append(f"{name} has the divisor 0: it was never trained and counts as absent.")
            del blobs[name]
        elif (variance_sum / factor + EPSILON <= 0).any():
            raise UserError(
                f"Layer {name!r}: A variance is {(variance_sum / factor).min()}, expected 0 or"
                f" more. {_DAMAGED}"
            )
    if colour:
        grey, error = to_one_channel({name: blobs[name] for name in _INPUT_LAYERS if name in blobs})
        blobs |= grey
        off = (
            ", except in the 3 outermost pixels, where the kernel covers zero padding. There the"
            f" responses differ by up to {error.max():.2%} of the range of a filter's outputs"
            f" (median filter {np.median(error):.2%})"
        )
        notes.append(
            "The three-channel input layers were converted to one channel. The responses of conv1"
            f" to grey pictures stay the same{'' if error.max() < 1e-6 else off}."
        )

    trees: dict[str, dict[tuple[str, ...], np.ndarray]] = {"params": {}, "batch_stats": {}}
    for name, arrays in blobs.items():
        for target, array in zip(targets[name], arrays, strict=True):
            trees[target.collection][target.path] = target.from_caffe(array)
    about = {
        "model": model,
        "imported": [name for name in layers if name in blobs],
        "absent": [name for name in targets if name not in blobs],
        "ignored": [name for name in layers if name not in targets],
        "notes": notes,
    }
    params, batch_stats = map(traverse_util.unflatten_dict, trees.values())
    return Weights(params, batch_stats, about)


def _has_three_channels(layers: Mapping[str, Sequence[np.ndarray]]) -> bool:
    """Return whether the input layers have three channels; refuse other numbers and mixtures."""
    channels = {
        name: layers[name][0].shape[1] if name == "conv1" else layers[name][0].size
        for name in _INPUT_LAYERS
        if name in layers and (name != "conv1" or layers[name][0].ndim == 4)
    }
    numbers = set(channels.values())
    if numbers <= {1}:
        return False
    if numbers == {3} and "conv1" in channels:
        return True
    found = ", ".join(f"{name!r} {_text([layers[name][0].shape])}" for name in channels)
    raise UserError(
        f"The input layers are {found}. Expected 1 channel in all of them, or conv1 and 3 channels"
        " in all of them. Only networks for grey or colour pictures can be imported."
    )


def _shaped(
    name: str, blobs: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
) -> list[np.ndarray]:
    """Reshape blobs to the expected shapes; leading ones may differ (old Caffe used 4 axes)."""

    def trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
        while shape and shape[0] == 1:
            shape = shape[1:]
        return shape

    if [trimmed(blob.shape) for blob in blobs] != [trimmed(shape) for shape in shapes]:
        raise UserError(
            f"Layer {name!r} has the shape {_text([blob.shape for blob in blobs])} in the file, but"
            f" {_text(shapes)} in the network. Set --model to the network that the file was"
            " trained as."
        )
    return [blob.reshape(shape) for blob, shape in zip(blobs, shapes, strict=True)]


def _text(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join("×".join(map(str, shape)) or "1" for shape in shapes)


def _some(names: Mapping[str, Any]) -> str:
    return ", ".join([*names][:5]) + (", …" if len(names) > 5 else "")
