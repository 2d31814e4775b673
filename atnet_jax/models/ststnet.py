"""STSTNet: shallow triple-stream 3D CNN on the onset→apex flow map. 1,683 parameters.

Layers and training follow the published PyTorch port.
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from atnet_jax.models.layers.convolve_and_pool import ConvolveAndPool, drop_half
from atnet_jax.models.layers.network import BaseNetwork, Batch, Weight
from atnet_jax.models.layers.pooling import max_pool
from atnet_jax.models.layers.pytorch import BatchNorm, bias_init, kernel_init, linear
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.flow_range import scale_to_unit_range
from atnet_jax.published import Published

INPUTS = ("flow_map",)
TITLE = "STSTNet"
SOURCE = (
    "Liong, Gan, See, Khor, Huang: Shallow Triple Stream Three-dimensional CNN (STSTNet) for"
    " Micro-expression Recognition, FG 2019"
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
    "shared_batches": True,
}
PUBLISHED = Published(
    cde={
        "full": (0.7353, 0.7605),
        "smic": (0.6801, 0.7013),
        "casme2": (0.8382, 0.8686),
        "samm": (0.6588, 0.6810),
    },
    note="after the last epoch. According to the authors' log the printed UAR is the macro"
    " precision; the true UAR is .7186 (SMIC .6703, CASME II .8190, SAMM .6415). The authors'"
    " PyTorch port reaches .7209/.7250.",
)
DEVIATIONS = (
    "The flow comes from the prepared data (config.data.flow), not from the IPOL program for"
    " TV-L1.",
)


class Filters(nn.Module):
    """Kernel and biases of the 3, 5 and 8 filters of the three streams, concatenated."""

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "3 3 3 16"], Float[Array, "16"]]:
        kernel = self.param("kernel", kernel_init, (27, 16))
        return kernel.reshape(3, 3, 3, 16), self.param("bias", bias_init(27), (16,))


class Model(BaseNetwork):
    """Flow map `[batch, 28, 28, 3]` → logits `[batch, 3]`.

    The three streams have the same input and, up to their concatenation, the same channel-wise
    layers. One convolution with all 16 filters therefore computes all streams.
    """

    def __call__(self, inputs: Batch, train: bool, weight: Weight = None) -> jax.Array:
        # Grey levels, because the published maps are pictures.
        return self.of_grey(255 * scale_to_unit_range(inputs["flow_map"]), train, weight)

    @nn.compact
    def of_grey(
        self,
        grey: Float[Array, "batch 28 28 3"],
        train: bool,
        weight: Float[Array, " batch"] | None = None,
    ) -> Float[Array, "batch 3"]:
        """Return the logits of the maps' grey levels, 0 to 255."""
        kernel, bias = Filters(name="streams")()
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            grey, kernel, (1, 1), [(2, 2), (2, 2)], dimension_numbers=layout
        )
        x = BatchNorm(name="norm")(nn.relu(x + bias), train, weight)
        x = max_pool(x, size=3, stride=3, padding=1)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return _classify(nn.avg_pool(x, (2, 2), (2, 2)))

    @nn.nowrap
    def for_training(self) -> "FastModel":
        """Return the same network with the layers before the dropout fused."""
        return FastModel()


class FastModel(Model):
    """`Model` with the layers of `layers/convolve_and_pool.py`; runs train and test this form."""

    @nn.compact
    def of_grey(
        self,
        grey: Float[Array, "batch 28 28 3"],
        train: bool,
        weight: Float[Array, " batch"] | None = None,
    ) -> Float[Array, "batch 3"]:
        x = ConvolveAndPool(name="norm")(grey, *Filters(name="streams")(), train, weight)
        if train:
            x = drop_half(self.make_rng("dropout"), x)
        x = x.reshape(*x.shape[:2], 5, 2, 5, 2).mean(axis=(3, 5))
        return _classify(x.transpose(1, 2, 3, 0))


def _classify(x: Float[Array, "batch 5 5 16"]) -> Float[Array, "batch 3"]:
    return linear(len(CLASSES), "classifier", x.reshape(len(x), -1))
