"""The spatial stream: pre-activation ResNet-10 on the apex frame.

The layers and their names follow the network definition released with the paper.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.models.layers.batch_norm import BatchNorm
from atnet_jax.models.layers.convolution import Conv
from atnet_jax.models.layers.pooling import max_pool_rounding_up
from atnet_jax.models.layers.stem import fits, stem
from atnet_jax.system import backend


class AttentionMask(nn.Module):
    """Attention weights of a block: `[batch, height, width, 3 · channels]` → one map in 0…1.

    The map is the sigmoid of the mean over the output channels of a 1×1 convolution without bias.
    Convolution and mean are linear, so the mean is taken over the kernel, which is `channels` times
    less work.
    """

    channels: int

    @nn.compact
    def __call__(
        self, stacked: Float[Array, "batch height width stacked"]
    ) -> Float[Array, "batch height width 1"]:
        shape = (1, 1, stacked.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return nn.sigmoid(stacked @ kernel[0, 0].mean(axis=-1, keepdims=True))


class ResNet10(nn.Module):
    """Grey image, raw values 0 to 255, `[batch, height, width, 1]` → features `[batch, 512]`.

    The network is designed for 224×224 pixels. Other sizes work because the last pooling is global.
    The map before the last pooling is sown into the collection "maps".

    Attributes:
        attention: True multiplies each block's sum by 1 + `AttentionMask` of its shortcut, its
            activated first convolution and its second convolution (Micro-Attention). In the last
            block, the multiplication follows the last normalisation.
    """

    attention: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "batch height width 1"],
        train: bool,
        weight: Float[Array, " batch"] | None = None,
    ) -> Float[Array, "batch 512"]:
        def norm_relu(name: str, x: jax.Array) -> jax.Array:
            return nn.relu(BatchNorm(name=name)(x, train, weight))

        def gain(channels: int, *parts: jax.Array) -> jax.Array | float:
            if not self.attention:
                return 1.0
            mask = AttentionMask(channels, name=f"mask_Concat_{channels}_1x1")
            return 1.0 + mask(jnp.concatenate(parts, axis=-1))

        data_bn = BatchNorm(name="data_bn")
        conv1 = Conv(64, 7, 2, 3, use_bias=True, name="conv1")
        conv1_bn = BatchNorm(name="conv1_bn")
        in_groups = train and not self.is_initializing() and fits(image)
        if in_groups and backend.platform() == "tpu":
            with jax.named_scope("stem"):
                x = stem(image, weight, data_bn, conv1, conv1_bn)
        else:
            x = conv1(data_bn(image, train, weight))
            x = max_pool_rounding_up(nn.relu(conv1_bn(x, train, weight)))

        # The first block has no pre-activation; its shortcut is the pooled input itself.
        first = norm_relu("layer_64_1_bn2", Conv(64, 3, 1, 1, name="layer_64_1_conv1")(x))
        second = Conv(64, 3, 1, 1, name="layer_64_1_conv2")(first)
        x = (x + second) * gain(64, x, first, second)

        for channels in (128, 256, 512):
            layer = f"layer_{channels}_1"
            activated = norm_relu(f"{layer}_bn1", x)
            first = Conv(channels, 3, 2, 1, name=f"{layer}_conv1")(activated)
            first = norm_relu(f"{layer}_bn2", first)
            second = Conv(channels, 3, 1, 1, name=f"{layer}_conv2")(first)
            shortcut = Conv(channels, 1, 2, 0, name=f"{layer}_conv_expand")(activated)
            x = second + shortcut
            factor = gain(channels, shortcut, first, second)
            if channels == 512:
                x = norm_relu("last_bn", x)
            x *= factor

        self.sow("maps", "last", x)
        return x.astype(jnp.float32).mean(axis=(1, 2))
