"""TLCNN: a CNN on each of 32 frames, then an LSTM. 6,998,533 parameters.

The implementation follows the publication in these steps: the clip is interpolated to 32 frames,
one CNN processes all frames, and an LSTM processes its features. The publication transfers the CNN
from pictures of expressions; here, set `config.init_from` to weights from `configs/pretrain.py`.
"""

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from atnet_jax.models.handcrafted.tim import interpolate_frames
from atnet_jax.models.layers.head import Classifier
from atnet_jax.models.layers.lstm import LSTM
from atnet_jax.models.layers.network import BaseNetwork, Batch, Prepared, Weight
from atnet_jax.models.layers.resnet10 import ResNet10
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("frames",)
TITLE = "TLCNN"
SOURCE = (
    "Wang, Li, Liu, Yan, Ou, Huang, Xu, Fu: Micro-expression recognition with small sample size"
    " by transferring long-term convolutional neural network, Neurocomputing 2018"
)
DEVIATIONS = (
    "The layers are not known; the published CNN has about 80 million weights. ATNet's ResNet-10 at"
    " a quarter of the picture's size (56×56) and one LSTM of 512 units are used instead.",
    "Training and augmentation are not known; ATNet's recipe without augmentation is used instead.",
    "Of the two transfers, from pictures of expressions and from single frames of clips, only the"
    " first is implemented (config.init_from); without it the network starts from random weights.",
    "Only the frames around the apex, at most 32 on each side, are interpolated.",
)

LENGTH = 32
# Frames have a quarter of the picture's size, but at least this height and width.
_SMALLEST = 28


class Model(BaseNetwork):
    """Grey frames, "sequence" `[batch, 32, size, size]`, 0…255 → logits `[batch, 3]`."""

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        sequence = inputs["sequence"]
        batch, length, *size = sequence.shape
        frames = sequence.reshape(batch * length, *size, 1)
        of_frame = None if weight is None else jnp.repeat(weight, length)
        features = ResNet10(name="spatial")(frames, train, of_frame)
        outputs = LSTM(name="lstm")(features.reshape(batch, length, -1))
        return Classifier(name="classifier")(outputs[:, -1])

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        return {"sequence": (LENGTH, frame_size(image_size), frame_size(image_size))}

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """Return the frames around the apex, reduced, then interpolated to 32 (TIM)."""
        assert clip.frames is not None
        size = (frame_size(image_size), frame_size(image_size))
        frames = np.stack(
            [
                cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA)
                for frame in clip.frames
            ]
        )
        return {"sequence": np.rint(interpolate_frames(frames, LENGTH)).astype(np.uint8)}


def frame_size(image_size: int) -> int:
    """Return height and width of the frames, in pixels."""
    return max(image_size // 4, _SMALLEST)
