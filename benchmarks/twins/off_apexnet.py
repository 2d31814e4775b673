"""OFF-ApexNet in PyTorch, with the layers of the port that our network follows (Off-TANet)."""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks.twins.twin import Twin, channels_first, to_unit_range


class Stream(nn.Module):
    """One component of the flow, without activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `[batch, 784]` of `[batch, 1, 28, 28]`."""
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(conv(x), 2)
        return x.flatten(1)


class OFFApexNet(Twin):
    """One stream for each component of the flow, then three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.u = Stream()
        self.v = Stream()
        self.hidden1 = nn.Linear(2 * 7 * 7 * 16, 1024)
        self.hidden2 = nn.Linear(1024, 1024)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(1024, 3)

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return both components, scaled to 0…1."""
        maps = to_unit_range(inputs["flow_map"])
        return {"u": maps[:, 0:1].contiguous(), "v": maps[:, 1:2].contiguous()}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits `[batch, 3]`; "u" and "v" are `[batch, 1, 28, 28]`."""
        x = torch.cat([self.u(inputs["u"]), self.v(inputs["v"])], 1)
        x = self.dropout(F.relu(self.hidden1(x)))
        x = self.dropout(F.relu(self.hidden2(x)))
        return self.classifier(x)

    def parameter_from_ours(self, path: str, array: np.ndarray) -> dict[str, np.ndarray]:
        """Convert one parameter; see `Twin`."""
        if path == "hidden1/kernel":
            return {"hidden1.weight": channels_first(array, 7 * 7, 16)}
        return super().parameter_from_ours(path, array)
