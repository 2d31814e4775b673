"""Convolution of larger pictures in plain NumPy, float64."""

import numpy as np

from tests.reference.plain_layers import Array


def convolution(
    x: Array, kernel: Array, bias: Array | float = 0.0, stride: int = 1, padding: int = 0
) -> Array:
    """Cross-correlation, one place of the kernel after the other: few and large products."""
    size = len(kernel)
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((length - size) // stride + 1 for length in x.shape[1:3])
    out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(size):
        for j in range(size):
            seen = x[:, i::stride, j::stride][:, :rows, :columns]
            out += seen @ kernel[i, j]
    return out + bias
