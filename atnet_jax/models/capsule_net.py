"""CapsuleNet: capsules on the apex frame in colour. 13,842,496 parameters.

Layers, loss and training follow the authors' published program.
"""

from collections.abc import Callable

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from atnet_jax.errors import UserError
from atnet_jax.models.layers.colour import jitter
from atnet_jax.models.layers.convolution import Conv
from atnet_jax.models.layers.network import BaseNetwork, Batch, Prepared, Weight
from atnet_jax.models.layers.pytorch import BatchNorm, conv
from atnet_jax.models.layers.resampling import mirror_some, turn_and_cut
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.published import Published

INPUTS = ("colour",)
TITLE = "CapsuleNet"
SOURCE = "Van Quang, Chun, Tokuyama: CapsuleNet for Micro-Expression Recognition, FG 2019"
RECIPE = {
    "batch_size": 32,
    "num_epochs": 30,
    # An epoch of the composite has 3 classes of 5 · 83 pictures each.
    "steps_per_epoch": 39,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "decay_epochs": 1,
    "decay_factor": 0.9,
    "weight_decay": 0.0,
    "bias_learning_rate_factor": 1.0,
    "balance_classes": True,
}
PUBLISHED = Published(
    cde={
        "full": (0.6520, 0.6506),
        "smic": (0.5820, 0.5877),
        "casme2": (0.7068, 0.7018),
        "samm": (0.6209, 0.5989),
    },
    note="435 of the 442 clips; the epoch with the best score on each test subject. It is unclear"
    " if the first layers kept their ImageNet weights.",
)
DEVIATIONS = (
    "The first layers start from random weights, not from ImageNet, unless config.init_from names"
    " weights.",
    "The network after the last epoch is tested, not the best epoch on the test subject.",
    "The apex frame is 36% of the training samples of each class, and its four neighbours are the"
    " rest. In the publication 36% is the share over all classes, and surprise has 20%.",
    "The face crop, and SMIC's apex frames, come from this project's preparation.",
    "Brightness, contrast, saturation and hue change in this order, not in a random order.",
    "A test picture is not rotated by a random angle.",
)

# A picture of 224×224 pixels is cropped from one of 234×240.
_CUT, _HEIGHT, _WIDTH = 224, 234, 240
# The stem and the residual layers reduce a picture to 1/8; the two 9×9 convolutions then need 17.
_SMALLEST = 129
_ROTATION = 8.0
_JITTER = 0.2
# Share of apex frames in an epoch: 442 clips, 3 classes of 5 · 83 pictures each.
_APEX_SHARE = 442 / 1245
_APEX = 2

_he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def length(vectors: Float[Array, "*places size"]) -> Float[Array, "*places"]:
    """Compute the Euclidean norm, with a gradient of 0 where the vector is 0."""
    return jnp.sqrt(jnp.maximum(jnp.square(vectors).sum(axis=-1), 1e-20))


def squash(vectors: Float[Array, "*places size"]) -> Float[Array, "*places size"]:
    """Scale vectors of length n to length n² / (1 + n²), which is below 1."""
    n = length(vectors)[..., None]
    return vectors * (n * n / ((1 + n * n) * (n + 1e-8)))


def route(
    votes: Float[Array, "batch class capsule size"], routings: int
) -> Float[Array, "batch class size"]:
    """Route by agreement (Sabour, Frosst, Hinton: Dynamic Routing Between Capsules, NIPS 2017).

    Each capsule distributes its vote over the classes, at first uniformly. A class is the squashed
    sum of the votes that it receives. In the next iteration, capsules whose votes agree with the
    class give it a larger share. Only the last iteration passes on a gradient, and only to the
    votes.

    Args:
        votes: Vote of each capsule for each class.
        routings: Number of iterations.

    Returns:
        The capsule of each class.
    """
    given = jax.lax.stop_gradient(votes)
    agreement = jnp.zeros(votes.shape[:3])
    for _ in range(routings - 1):
        shares = nn.softmax(agreement, axis=1)
        outputs = squash(jnp.einsum("bkn,bkns->bks", shares, given))
        agreement += jnp.einsum("bks,bkns->bkn", outputs, given)
    shares = nn.softmax(agreement, axis=1)
    return squash(jnp.einsum("bkn,bkns->bks", shares, votes))


class ResidualLayer(nn.Module):
    """Two basic blocks of ResNet-18: `[batch, height, width, channel]` → `[batch, …, features]`."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, weight: jax.Array | None) -> jax.Array:
        def conv_norm(name: str, x: jax.Array, size: int, stride: int) -> jax.Array:
            conv = Conv(
                self.features, size, stride, size // 2, kernel_init=_he_normal, name=f"{name}_conv"
            )
            return BatchNorm(name=f"{name}_bn")(conv(x), train, weight)

        for number, stride in enumerate((self.stride, 1), 1):
            y = nn.relu(conv_norm(f"block{number}_first", x, 3, stride))
            y = conv_norm(f"block{number}_second", y, 3, 1)
            if stride != 1:
                x = conv_norm(f"block{number}_shortcut", x, 1, stride)
            x = nn.relu(x + y)
        return x


class ClassCapsules(nn.Module):
    """Capsules `[batch, capsule, 8]` → one capsule of 16 values per class, `[batch, 3, 16]`."""

    routings: int
    size: int = 16

    @nn.compact
    def __call__(self, x: Float[Array, "batch capsule 8"]) -> Float[Array, "batch 3 16"]:
        shape = (len(CLASSES), x.shape[1], self.size, x.shape[2])
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape)
        votes = jnp.einsum("bni,knsi->bkns", x.astype(kernel.dtype), kernel)
        return route(votes.astype(jnp.float32), self.routings)


class Model(BaseNetwork):
    """Apex frame in colour → lengths of the three classes' capsules, `[batch, 3]`, in 0…1.

    In testing, the input is "faces" `[batch, 5, 234, 240, 3]`, RGB 0…255, whose third frame is the
    apex. In training, it is "face", which `augment` computes from "faces". The number of capsules
    depends on the picture size: 1,152 at 224×224.

    Attributes:
        routings: Number of routing iterations; see `route`.
    """

    routings: int = 3

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        face = inputs["face"] if "face" in inputs else cut_centre(inputs["faces"][:, _APEX])
        x = Conv(64, 7, 2, 3, kernel_init=_he_normal, name="conv1")(face / 255)
        x = nn.relu(BatchNorm(name="bn1")(x, train, weight))
        for number, (features, stride) in enumerate(((64, 1), (128, 2), (256, 2)), 1):
            x = ResidualLayer(features, stride, name=f"layer{number}")(x, train, weight)

        x = conv(256, 9, "primary", nn.relu(conv(256, 9, "conv2", x)), stride=2)
        capsules = squash(x.astype(jnp.float32).reshape(len(x), -1, 8))
        return length(ClassCapsules(self.routings, name="capsules")(capsules))

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        if image_size < _SMALLEST:
            raise UserError(
                f"CapsuleNet needs pictures of at least {_SMALLEST}×{_SMALLEST} pixels, not"
                f" {image_size}×{image_size}. Set config.data.image_size to {_SMALLEST} or more."
            )
        return {"faces": (5, *canvas(image_size), 3)}

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """Return the apex frame and two on each side, slightly larger than the final crop."""
        height, width = canvas(image_size)
        smaller = width < clip.colour_apex.shape[2]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        faces = [cv2.resize(face, (width, height), interpolation=how) for face in clip.colour_apex]
        return {"faces": np.stack(faces)}

    @nn.nowrap
    def augment(self, key: PRNGKeyArray, inputs: Batch, change_apex: Callable) -> Batch:
        """Draw one of the five frames; rotate, mirror, recolour and crop it at random."""
        frame_key, angle_key, mirror_key, jitter_key, cut_key = jax.random.split(key, 5)
        faces = inputs["faces"]
        batch, _, *full, _ = faces.shape
        chances = jnp.full(5, (1 - _APEX_SHARE) / 4).at[_APEX].set(_APEX_SHARE)
        frame = jax.random.choice(frame_key, 5, (batch,), p=chances)
        face = faces[jnp.arange(batch), frame]
        degrees = jax.random.uniform(angle_key, (batch,), minval=-_ROTATION, maxval=_ROTATION)
        corner = jnp.zeros((batch, 2), jnp.int32)
        face = turn_and_cut(face, degrees, corner, (full[0], full[1]), jnp.zeros(3))
        face = jitter(jitter_key, mirror_some(face, mirror_key), _JITTER)
        size = cut_size(full[0])
        room = jnp.array([full[0] - size + 1, full[1] - size + 1])
        corner = jax.random.randint(cut_key, (batch, 2), 0, room)
        return {"face": turn_and_cut(face, jnp.zeros(batch), corner, (size, size), jnp.zeros(3))}

    @nn.nowrap
    def loss(self, outputs: Float[Array, "batch 3"], labels: jax.Array) -> Float[Array, " batch"]:
        """Compute the margin loss: true class's length at least 0.99, others' at most 0.01."""
        own = jax.nn.one_hot(labels, outputs.shape[1])
        missed = own * jnp.square(nn.relu(0.99 - outputs))
        mistaken = (1 - own) * jnp.square(nn.relu(outputs - 0.01))
        return (missed + 0.5 * mistaken).sum(axis=1)


def canvas(image_size: int) -> tuple[int, int]:
    """Return height and width of the picture from which this size is cropped."""
    return round(_HEIGHT * image_size / _CUT), round(_WIDTH * image_size / _CUT)


def cut_size(height: int) -> int:
    """Return the size of the crop from a picture of this height."""
    return round(_CUT * height / _HEIGHT)


def cut_centre(faces: Float[Array, "batch height width 3"]) -> Float[Array, "batch size size 3"]:
    """Crop the centre of each picture."""
    size = cut_size(faces.shape[1])
    top, left = ((side - size) // 2 for side in faces.shape[1:3])
    return faces[:, top : top + size, left : left + size]
