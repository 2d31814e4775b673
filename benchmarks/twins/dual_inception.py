"""Dual-Inception in PyTorch, with the layers and initial values of the authors' Keras code."""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks.twins.twin import Twin, channels_first, to_unit_range


class Inception(nn.Module):
    """Four parallel branches with `filters` channels each."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.alone = nn.Conv2d(channels, filters, 1)
        self.before_conv3 = nn.Conv2d(channels, filters, 1)
        self.conv3 = nn.Conv2d(filters, filters, 3, padding=1)
        self.before_conv5 = nn.Conv2d(channels, filters, 1)
        self.conv5 = nn.Conv2d(filters, filters, 5, padding=2)
        self.after_pool = nn.Conv2d(channels, filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches of `[batch, channel, height, width]`, joined as channels."""
        branches = [
            self.alone(x),
            self.conv3(F.relu(self.before_conv3(x))),
            self.conv5(F.relu(self.before_conv5(x))),
            self.after_pool(F.max_pool2d(x, 3, stride=1, padding=1)),
        ]
        return F.relu(torch.cat(branches, 1))


class Stream(nn.Module):
    """One component of the flow."""

    def __init__(self) -> None:
        super().__init__()
        self.inception1 = Inception(3, 6)
        self.inception2 = Inception(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `[batch, 3136]` of `[batch, 3, 28, 28]`."""
        for inception in (self.inception1, self.inception2):
            x = F.max_pool2d(inception(x), 2)
        return x.flatten(1)


class DualInception(Twin):
    """One stream for each component of the flow, then two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.u = Stream()
        self.v = Stream()
        self.hidden = nn.Linear(2 * 7 * 7 * 64, 1024)
        self.classifier = nn.Linear(1024, 3)

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return both components as pictures of three equal channels, 0…1."""
        maps = to_unit_range(inputs["flow_map"])
        return {name: maps[:, k, None].repeat(1, 3, 1, 1) for k, name in enumerate(("u", "v"))}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits `[batch, 3]`; "u" and "v" are `[batch, 3, 28, 28]`."""
        x = torch.cat([self.u(inputs["u"]), self.v(inputs["v"])], 1)
        return self.classifier(F.relu(self.hidden(x)))

    def reset(self) -> None:
        """Draws all parameters anew, in place, as Keras does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def parameter_from_ours(self, path: str, array: np.ndarray) -> dict[str, np.ndarray]:
        """Convert one parameter; see `Twin`."""
        if path == "hidden/kernel":
            return {"hidden.weight": channels_first(array, 7 * 7, 64)}
        return super().parameter_from_ours(path, array)
