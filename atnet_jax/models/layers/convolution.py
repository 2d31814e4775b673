"""Convolution with the fastest algorithm for its size and device."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.system import backend

# Up to this number of output rows, a matrix product of patches is faster on a CPU.
_SMALL = 14


class Conv(nn.Module):
    """Square convolution, NHWC, He-initialised (Caffe's "msra" filler: variance 2 / fan-in).

    The result has the kernel's precision, which is also used for the computation.

    Attributes:
        features: Number of output channels.
        size: Height and width of the kernel.
        stride: Stride in both directions.
        padding: Number of zeros added on every side.
        use_bias: True to add a bias.
        dilation: Distance between neighbouring input values under the kernel.
        kernel_init: Initialiser of the kernel, `[size, size, in, out]`.
        bias_init: Initialiser of the bias, `[out]`.
    """

    features: int
    size: int
    stride: int
    padding: int
    use_bias: bool = False
    dilation: int = 1
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch out_height out_width features"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        if self.dilation > 1:
            gap, none = (0, 0, self.dilation - 1), (0, 0, 0)
            kernel = jax.lax.pad(kernel, jnp.zeros((), kernel.dtype), (gap, gap, none, none))
        rows = (x.shape[1] + 2 * self.padding - kernel.shape[0]) // self.stride + 1
        if backend.platform() != "cpu":
            convolve = _convolve
        elif rows <= _SMALL:
            convolve = _multiply_patches
        else:
            convolve = _convolve_on_cpu
        x = convolve(self.stride, self.padding, x.astype(kernel.dtype), kernel)
        if self.use_bias:
            x += self.param("bias", self.bias_init, (self.features,)).astype(x.dtype)
        return x


def _convolve(stride: int, padding: int, x: Any, kernel: Any) -> Any:
    """Return the cross-correlation of an NHWC input with an HWIO kernel."""
    return _correlate(x, kernel, [(padding, padding)] * 2, stride=stride)


def _correlate(
    x: Any,
    kernel: Any,
    padding: Sequence[tuple[int, int]],
    *,
    stride: int = 1,
    dilation: int = 1,
    kernel_dilation: int = 1,
) -> Any:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        lhs_dilation=(dilation, dilation),
        rhs_dilation=(kernel_dilation, kernel_dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _multiply_patches(stride: int, padding: int, x: Any, kernel: Any) -> Any:
    """Compute `_convolve` as a matrix product of the kernel and each output position's patch."""
    size, features = kernel.shape[0], kernel.shape[-1]
    rows, columns = ((length + 2 * padding - size) // stride + 1 for length in x.shape[1:3])
    edge = (padding, padding)
    x = jnp.pad(x, ((0, 0), edge, edge, (0, 0)))
    height, width = stride * (rows - 1) + 1, stride * (columns - 1) + 1
    shifted = [
        x[:, i : i + height : stride, j : j + width : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _convolve_on_cpu(stride: int, padding: int, x: Any, kernel: Any) -> Any:
    """Compute `_convolve`, with gradients expressed as forward convolutions of rearranged arrays.

    XLA's own gradients use flipped kernels and swap batch and channels. Inside a loop, a CPU
    computes these value by value, 6 to 25 times more slowly. The gradients here have bit-identical
    values and the same speed inside and outside a loop.

    Returns:
        The cross-correlation, NHWC.
    """
    return _convolve(stride, padding, x, kernel)


def _convolve_on_cpu_forward(
    stride: int, padding: int, x: Any, kernel: Any
) -> tuple[Any, tuple[Any, Any]]:
    return _convolve(stride, padding, x, kernel), (x, kernel)


def _convolve_on_cpu_backward(
    stride: int, padding: int, residuals: tuple[Any, Any], gradient: Any
) -> tuple[Any, Any]:
    x, kernel = residuals
    size = kernel.shape[0]
    margin = size - 1 - padding
    # Rows that remain at the end after the last stride contribute to no output.
    left_over = [
        length + 2 * padding - size - (rows - 1) * stride
        for length, rows in zip(x.shape[1:3], gradient.shape[1:3], strict=True)
    ]
    of_x = _correlate(
        gradient,
        kernel[::-1, ::-1].swapaxes(2, 3),
        [(margin, margin + over) for over in left_over],
        dilation=stride,
    )
    of_kernel = _correlate(
        x.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        [(padding, padding - over) for over in left_over],
        kernel_dilation=stride,
    )
    return of_x, of_kernel.transpose(1, 2, 0, 3)


_convolve_on_cpu.defvjp(_convolve_on_cpu_forward, _convolve_on_cpu_backward)
