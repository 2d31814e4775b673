"""Convolution, computed in the way that is fastest for its size and device."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Up to this many output rows, a CPU is faster with a matrix product of patches.
_SMALL = 14


class Conv(nn.Module):
    """Square convolution, NHWC, He-initialised (Caffe's "msra" filler: variance 2 / fan-in).

    Computes in the kernel's precision, and gives its result in it.

    Attributes:
        features: Output channels.
        size: Kernel height and width.
        stride: In both directions.
        padding: Zeros on every side.
        use_bias: Whether a bias is added.
        dilation: Distance between the values that the kernel sees.
        kernel_init: Of the kernel, `[size, size, in, out]`.
        bias_init: Of the bias.
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
        if jax.default_backend() != "cpu":
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
    """Cross-correlation, NHWC and HWIO."""
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
    """The same as a product of what each output position sees with the kernel."""
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
    """`_convolve`, with its gradients as forward convolutions of arrays that are laid out for it.

    XLA's own gradients ask for flipped kernels and for batch and channels in each other's place,
    which a CPU computes value by value inside a loop: 6 to 25× slower. These have the same values
    to the bit, at the same speed inside a loop and outside.
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
    # Where the stride leaves rows over at the end, they are seen by no output.
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
