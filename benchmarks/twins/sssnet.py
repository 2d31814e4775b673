"""SSSNet in PyTorch, with the layers of the benchmark that our network follows (MEB)."""

import numpy as np
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks.twins.twin import Twin, channels_first


class SSSNet(Twin):
    """Two convolutions, each followed by pooling, normalisation and dropout of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 5)
        self.norm1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.norm2 = nn.BatchNorm2d(64)
        self.drop_channels = nn.Dropout2d(0.5)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(9 * 9 * 64, 256)
        self.classifier = nn.Linear(256, 3)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits `[batch, 3]`; "flow_map" is `[batch, 3, 64, 64]`."""
        x = F.max_pool2d(F.relu(self.conv1(inputs["flow_map"])), 3)
        x = self.drop_channels(self.norm1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.drop_channels(self.norm2(x))
        x = self.dropout(F.relu(self.hidden(x.flatten(1))))
        return self.classifier(x)

    def parameter_from_ours(self, path: str, array: np.ndarray) -> dict[str, np.ndarray]:
        """Convert one parameter; see `Twin`."""
        if path == "hidden/kernel":
            return {"hidden.weight": channels_first(array, 9 * 9, 64)}
        return super().parameter_from_ours(path, array)
