"""RCN-A in PyTorch, with the layers and initial values of the authors' code."""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks.twins.twin import Twin

CHANNELS = 64
POOLED = 7


class ConvNormReLU(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, size: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, CHANNELS, size, padding=padding)
        self.norm = nn.BatchNorm2d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `[batch, channel, height, width]`, in the same axes."""
        return F.relu(self.norm(self.conv(x)))


class RecurrentConvolution(nn.Module):
    """One convolution applied twice to its own output plus the input."""

    def __init__(self) -> None:
        super().__init__()
        self.feed_forward = ConvNormReLU(CHANNELS, 1, 0)
        self.recurrent = ConvNormReLU(CHANNELS, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, half as high and wide."""
        state = self.feed_forward(x)
        for _ in range(2):
            state = self.recurrent(x + state)
        return F.max_pool2d(state, 2)


class RCN(Twin):
    """RCN-A, with class attention computed from the output of the first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormReLU(3, 5, 0)
        self.recurrent_convolution = RecurrentConvolution()
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(CHANNELS * POOLED * POOLED, 3)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits `[batch, 3]`; "flow_picture" is `[batch, 3, 60, 60]`, 0…1."""
        x = self.dropout(F.max_pool2d(self.stem(inputs["flow_picture"]), 2))
        attention = self.attention(F.adaptive_avg_pool2d(x, POOLED))
        x = self.dropout(self.recurrent_convolution(x))
        return self.classifier((F.adaptive_avg_pool2d(x, POOLED) * attention).flatten(1))

    def attention(self, x: Tensor) -> Tensor:
        """Return the mean of the normalised class activation maps of `[batch, 64, 7, 7]`."""
        weight = self.classifier.weight.view(3, CHANNELS, POOLED, POOLED)
        maps = torch.einsum("bchw,kchw->bkhw", x, weight) / CHANNELS
        maps = maps - maps.amin((2, 3), keepdim=True)
        largest = maps.amax((2, 3), keepdim=True)
        return (maps / torch.where(largest > 0, largest, 1.0)).mean(1, keepdim=True)

    def reset(self) -> None:
        """Draws all parameters anew, in place."""
        super().reset()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def parameter_from_ours(self, path: str, array: np.ndarray) -> dict[str, np.ndarray]:
        """Convert one parameter; see `Twin`."""
        if path == "classifier/kernel":
            return {"classifier.weight": array.transpose(3, 2, 0, 1).reshape(3, -1)}
        return super().parameter_from_ours(path, array)
