"""VGG-16 on the apex frame, its motion magnified: as Li et al. 2018. 134,272,835 parameters.

The network is VGG-16 (Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image
Recognition, ICLR 2015), whose layers are those of VGG-Face, which the publication fine-tunes.
"""

from collections.abc import Callable

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from atnet_jax.errors import UserError
from atnet_jax.models.layers.convolution import Conv
from atnet_jax.models.layers.network import BaseNetwork, Batch, Prepared, Weight
from atnet_jax.models.layers.pooling import max_pool
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("frames",)
TITLE = "VGG-16, magnified apex"
SOURCE = (
    "Li, Huang, Zhao: Can Micro-Expression be Recognized Based on Single Apex Frame?, ICIP 2018"
)
RECIPE = {
    "batch_size": 32,
    "optimizer": "sgd",
    "learning_rate": 1e-3,
    "weight_decay": 5e-4,
    "bias_learning_rate_factor": 1.0,
    "magnification": 30.0,
}
DEVIATIONS = (
    "The network starts at random, not from VGG-Face, unless config.init_from says otherwise.",
    "How the network was fine-tuned is not known; SGD at 0.001, weight decay 0.0005, stands in.",
    "The apex frame is the annotated one (or the data's own rule), not spotted by the publication's"
    " method.",
    "The magnified band and cut-off wavelength are not known; 5 to 25 Hz and 16 pixels stand in. A"
    " clip of unknown frame rate is taken to have 200 frames a second.",
    "Pictures are grey, in three equal channels; only the frames around the apex, at most 32 on"
    " each side, are magnified.",
)

# Five blocks, each of convolutions and a pooling by 2.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_SMALLEST = 2 ** len(_BLOCKS)
# The apex frame and as many on each side.
_NEIGHBOURS = 2


class Model(BaseNetwork):
    """Apex frame → logits `[batch, 3]`.

    It reads "faces" `[batch, 5, size, size]`, grey 0…255, the apex frame the third of them, or
    "face", the one that `augment` leaves. The first linear layer's size follows the picture's.
    `config.recipe.magnification` has had their motion magnified.
    """

    @nn.compact
    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        face = inputs["face"] if "face" in inputs else inputs["faces"][:, _NEIGHBOURS]
        x = jnp.repeat((face / 127.5 - 1)[..., None], 3, axis=-1)
        for block, widths in enumerate(_BLOCKS, 1):
            for number, features in enumerate(widths, 1):
                x = nn.relu(Conv(features, 3, 1, 1, use_bias=True, name=f"conv{block}_{number}")(x))
            x = max_pool(x, 2, 2)
        x = x.astype(jnp.float32).reshape(len(x), -1)
        he_normal = nn.initializers.he_normal()
        for number in (6, 7):
            x = nn.relu(nn.Dense(4096, kernel_init=he_normal, name=f"fc{number}")(x))
            x = nn.Dropout(0.5, deterministic=not train)(x)
        narrow = nn.initializers.normal(0.01)
        return nn.Dense(len(CLASSES), kernel_init=narrow, name="classifier")(x)

    @nn.nowrap
    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        if image_size < _SMALLEST:
            raise UserError(
                f"VGG-16 needs pictures of at least {_SMALLEST}×{_SMALLEST} pixels, not"
                f" {image_size}×{image_size}; set config.data.image_size to {_SMALLEST} or more."
            )
        return {"faces": (2 * _NEIGHBOURS + 1, image_size, image_size)}

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """The apex frame and two on each side; beyond the clip's ends its last again."""
        assert clip.frames is not None
        wanted = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1) + clip.apex_index
        size = (image_size, image_size)
        pictures = [
            cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            for picture in clip.frames[np.clip(wanted, 0, len(clip.frames) - 1)]
        ]
        return {"faces": np.stack(pictures)}

    @nn.nowrap
    def augment(self, key: PRNGKeyArray, inputs: Batch, change_apex: Callable) -> Batch:
        """One of the five frames: they are five times as many samples."""
        faces = inputs["faces"]
        batch, frames = faces.shape[:2]
        drawn = jax.random.randint(key, (batch,), 0, frames)
        return {"face": faces[jnp.arange(batch), drawn]}
