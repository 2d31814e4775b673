"""L2 normalisation and classifier, the layers after the streams."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from atnet_jax.names import CLASSES


def l2_normalise(x: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
    """Return each row divided by its Euclidean norm.

    This is the paper's eq. 7, where the printed sum lacks the square. A row of zeros, such as the
    temporal stream's output for a clip without flow, stays zero and passes on a finite gradient.

    Args:
        x: One row of features per clip.
    """
    return x * jax.lax.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12)


class Classifier(nn.Module):
    """Linear layer to the three classes; Caffe's Xavier filler (uniform), initial biases 0.2."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, "batch 3"]:
        return nn.Dense(
            len(CLASSES),
            kernel_init=nn.initializers.variance_scaling(1.0, "fan_in", "uniform"),
            bias_init=nn.initializers.constant(0.2),
            name="Micro_expression",
        )(x)
