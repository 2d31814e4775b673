"""STSTNet in PyTorch, with the layers of its published port, github.com/christy1206/STSTNet."""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks.twins.twin import Twin, channels_first, to_unit_range


class STSTNet(Twin):
    """Three shallow streams with 3, 5 and 8 filters."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(3, n, 3, padding=2) for n in (3, 5, 8))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (3, 5, 8))
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(400, 3)

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the maps in grey levels, 0…255."""
        return {"flow_map": 255 * to_unit_range(inputs["flow_map"])}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits `[batch, 3]`; "flow_map" is `[batch, 3, 28, 28]`, 0…255."""
        x = inputs["flow_map"]
        streams = [
            self.dropout(F.max_pool2d(norm(F.relu(convolution(x))), 3, stride=3, padding=1))
            for convolution, norm in zip(self.convolutions, self.norms, strict=True)
        ]
        return self.classifier(F.avg_pool2d(torch.cat(streams, 1), 2).flatten(1))

    def parameter_from_ours(self, path: str, array: np.ndarray) -> dict[str, np.ndarray]:
        """Convert one parameter; see `Twin`. Ours holds the filters of all streams."""
        if path == "classifier/kernel":
            return {"classifier.weight": channels_first(array, 5 * 5, 16)}
        if path == "classifier/bias":
            return {"classifier.bias": array}
        if path == "streams/kernel":
            array = array.reshape(3, 3, 3, 16).transpose(3, 2, 0, 1)
        layer, leaf = path.split("/")
        layer = {"streams": "convolutions", "norm": "norms"}[layer]
        leaf = "bias" if leaf == "bias" else "weight"
        return {f"{layer}.{k}.{leaf}": part for k, part in enumerate(np.split(array, (3, 8)))}
