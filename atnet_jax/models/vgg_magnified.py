"""VGG-16 on the motion-magnified apex frame, after Li et al. 2018. 134,272,835 parameters.

The network is VGG-16 (Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image
Recognition, ICLR 2015). It has the layers of VGG-Face, which the publication fine-tunes.
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
    "The network starts from random weights, not from VGG-Face, unless config.init_from names"
    " weights.",
    "The authors' settings for fine-tuning are not known; SGD at 0.001 with weight decay 0.0005 is"
    " used instead.",
    "The apex frame is the annotated one (or comes from the database's own rule); it is not spotted"
    " by the publication's method.",
    "The magnified band and cut-off wavelength are not known; 5 to 25 Hz and 16 pixels are used"
    " instead. A clip of unknown frame rate is assumed to have 200 frames per second.",
    "Pictures are grey, copied to three channels; only the frames around the apex, at most 32 on"
    " each side, are magnified.",
)

# Five blocks, each of convolutions and 2×2 pooling.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_SMALLEST = 2 ** len(_BLOCKS)
# Number of frames on each side of the apex frame.
_NEIGHBOURS = 2


class Model(BaseNetwork):
    """Apex frame → logits `[batch, 3]`.

    In testing, the input is "faces" `[batch, 5, size, size]`, grey 0…255, whose third frame is the
    apex. In training, it is "face", the frame that `augment` draws. The size of the first linear
    layer depends on the picture size. `config.recipe.magnification` magnifies the frames' motion
    before the network reads them.
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
                f" {image_size}×{image_size}. Set config.data.image_size to {_SMALLEST} or more."
            )
        return {"faces": (2 * _NEIGHBOURS + 1, image_size, image_size)}

    @nn.nowrap
    def prepare(self, clip: PreparedClip, flow: FlowMethod, image_size: int) -> Prepared:
        """Return the apex frame and two on each side, repeating the clip's end frames if needed."""
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
        """Draw one of the five frames, which multiplies the number of samples by five."""
        faces = inputs["faces"]
        batch, frames = faces.shape[:2]
        drawn = jax.random.randint(key, (batch,), 0, frames)
        return {"face": faces[jnp.arange(batch), drawn]}
