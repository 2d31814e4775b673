"""Convolution, computed in the way that is fastest for its size on a CPU."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Up to this many output rows, a CPU is faster with a matrix product of patches: XLA's gradient of
# a convolution with many channels on a small map can take several times as long.
_SMALL = 14


class Conv(nn.Module):
    """Square convolution, NHWC, He-initialised (Caffe's "msra" filler: variance 2 / fan-in).

    Attributes:
      features: output channels.
      size: kernel height and width.
      stride: in both directions.
      padding: zeros on every side.
      use_bias: whether a bias is added.
    """

    features: int
    size: int
    stride: int
    padding: int
    use_bias: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch out_height out_width features"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        rows = (x.shape[1] + 2 * self.padding - self.size) // self.stride + 1
        if rows <= _SMALL and jax.default_backend() == "cpu":
            x = self._patches(x, rows) @ kernel.reshape(-1, self.features)
        else:
            x = jax.lax.conv_general_dilated(
                x,
                kernel,
                (self.stride, self.stride),
                [(self.padding, self.padding)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        if self.use_bias:
            x += self.param("bias", nn.initializers.zeros, (self.features,))
        return x

    def _patches(self, x: jax.Array, rows: int) -> jax.Array:
        """What each output position sees, `[batch, rows, columns, size * size * channel]`."""
        columns = (x.shape[2] + 2 * self.padding - self.size) // self.stride + 1
        edge = (self.padding, self.padding)
        x = jnp.pad(x, ((0, 0), edge, edge, (0, 0)))
        height, width = self.stride * (rows - 1) + 1, self.stride * (columns - 1) + 1
        shifted = [
            x[:, i : i + height : self.stride, j : j + width : self.stride]
            for i in range(self.size)
            for j in range(self.size)
        ]
        return jnp.concatenate(shifted, axis=-1)
