"""The spatial stream: pre-activation ResNet-10 on the apex frame.

Layer for layer as the network definition released with the paper, whose layer names are kept.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.models.layers.batch_norm import BatchNorm
from atnet_jax.models.layers.convolution import Conv


def max_pool_rounding_up(
    x: Float[Array, "batch height width channel"],
) -> Float[Array, "batch pooled_height pooled_width channel"]:
    """3×3 max-pooling with stride 2, no padding, output size rounded up as Caffe does (112 → 56).

    The last window may reach over the edge; what lies outside does not count.
    """
    height, width = x.shape[1:3]
    overhang = ((0, 0), (0, (height - 3) % 2), (0, (width - 3) % 2), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), overhang)


class ResNet10(nn.Module):
    """Grey image, raw values 0 to 255, `[batch, height, width, 1]` → features `[batch, 512]`.

    Made for 224×224; other sizes work because the last pooling is global.
    """

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "batch height width 1"],
        train: bool,
        weight: Float[Array, " batch"] | None = None,
    ) -> Float[Array, "batch 512"]:
        def norm_relu(name: str, x: jax.Array) -> jax.Array:
            return nn.relu(BatchNorm(name=name)(x, train, weight))

        x = BatchNorm(name="data_bn")(image, train, weight)
        x = Conv(64, 7, 2, 3, use_bias=True, name="conv1")(x)
        x = max_pool_rounding_up(norm_relu("conv1_bn", x))

        # The first block has no pre-activation, and its shortcut is the pooled input itself.
        branch = Conv(64, 3, 1, 1, name="layer_64_1_conv1")(x)
        branch = norm_relu("layer_64_1_bn2", branch)
        x += Conv(64, 3, 1, 1, name="layer_64_1_conv2")(branch)

        for channels in (128, 256, 512):
            layer = f"layer_{channels}_1"
            activated = norm_relu(f"{layer}_bn1", x)
            branch = Conv(channels, 3, 2, 1, name=f"{layer}_conv1")(activated)
            branch = norm_relu(f"{layer}_bn2", branch)
            branch = Conv(channels, 3, 1, 1, name=f"{layer}_conv2")(branch)
            shortcut = Conv(channels, 1, 2, 0, name=f"{layer}_conv_expand")(activated)
            x = branch + shortcut

        return norm_relu("last_bn", x).mean(axis=(1, 2))
