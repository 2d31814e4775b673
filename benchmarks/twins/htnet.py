"""HTNet in PyTorch, with the layers of the authors' code, attention in windows of 1×1 included."""

import re
from collections.abc import Mapping

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks.twins.twin import Twin


class LayerNorm(nn.Module):
    """Normalises the channels of each position of `[batch, channel, height, width]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def reset_parameters(self) -> None:
        """Set the initial values, in place."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised values."""
        variance = torch.var(x, dim=1, unbiased=False, keepdim=True)
        mean = torch.mean(x, dim=1, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * self.weight + self.bias


class Attention(nn.Module):
    """Attention between the positions of a window."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        size = channels // heads
        self.scale = size**-0.5
        self.query_key_value = nn.Conv2d(channels, 3 * size * heads, 1, bias=False)
        self.out = nn.Conv2d(size * heads, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended values of `[window, channel, height, width]`, in the same axes."""
        windows, _, height, width = x.shape
        query, key, value = (
            part.view(windows, self.heads, -1, height * width).transpose(2, 3)
            for part in self.query_key_value(x).chunk(3, dim=1)
        )
        weights = (query @ key.transpose(2, 3) * self.scale).softmax(dim=-1)
        return self.out((weights @ value).transpose(2, 3).reshape(windows, -1, height, width))


class Block(nn.Module):
    """Attention, then a perceptron; both pre-normalised and residual."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.perceptron_norm = LayerNorm(channels)
        self.wide = nn.Conv2d(channels, 4 * channels, 1)
        self.gelu = nn.GELU()
        self.narrow = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `[window, channel, height, width]`, in the same axes."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.narrow(self.gelu(self.wide(self.perceptron_norm(x))))


class Level(nn.Module):
    """Blocks that see a picture as `side` × `side` windows of one position."""

    def __init__(self, channels: int, heads: int, blocks: int, side: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1))
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(blocks))
        self.side = side

    def reset_parameters(self) -> None:
        """Draws the position anew, in place."""
        nn.init.normal_(self.position)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `[batch, channel, side, side]`, in the same axes."""
        batch, channels = x.shape[:2]
        x = x.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1) + self.position
        for block in self.blocks:
            x = block(x)
        return x.view(batch, self.side, self.side, channels).permute(0, 3, 1, 2)


class Aggregate(nn.Module):
    """Merging of neighbours, which halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels // 2, channels, 3, padding=1)
        self.norm = LayerNorm(channels)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `[batch, channel, height, width]`, in the same axes."""
        return self.pool(self.norm(self.conv(x)))


class HTNet(Twin):
    """Three levels of blocks with 256, 512 and 1024 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(7 * 7 * 3, 256, 1)
        self.levels = nn.ModuleList([
            Level(256, 3, 2, side=4),
            Level(512, 6, 2, side=2),
            Level(1024, 12, 10, side=1),
        ])  # fmt: skip
        self.aggregates = nn.ModuleList([Aggregate(512), Aggregate(1024)])
        self.norm = LayerNorm(1024)
        self.classifier = nn.Linear(1024, 3)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits `[batch, 3]`; "regions" is `[batch, 3, 28, 28]`, 0…255."""
        x = inputs["regions"].view(-1, 3, 4, 7, 4, 7)
        x = self.patches(x.permute(0, 3, 5, 1, 2, 4).reshape(-1, 147, 4, 4))
        x = self.levels[0](x)
        x = self.levels[1](self.aggregates[0](x))
        x = self.levels[2](self.aggregates[1](x))
        return self.classifier(self.norm(x).mean((2, 3)))

    def parameters_from_ours(self, ours: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Convert all parameters; see `Twin`. Ours separates the values from queries and keys."""
        joined = {path: array for path, array in ours.items() if "/attention/" not in path}
        for path, array in ours.items():
            layer, _, leaf = path.partition("/attention/")
            if leaf == "query_key":
                values = ours[f"{layer}/attention/value/kernel"]
                both = np.concatenate([array, values], axis=1)
                joined[f"{layer}/attention/query_key_value/kernel"] = both
            elif leaf.startswith("out/"):
                joined[path] = array
        return super().parameters_from_ours(joined)

    def parameter_from_ours(self, path: str, array: np.ndarray) -> dict[str, np.ndarray]:
        """Convert one parameter; see `Twin`."""
        if path.startswith("classifier"):
            return super().parameter_from_ours(path, array)
        path = path.removeprefix("hierarchy/")
        path = re.sub(r"^level(\d)_block(\d+)", r"levels/\1/blocks/\2", path)
        if "position" in path:
            return {re.sub(r"position(\d)", r"levels.\1.position", path): array}
        path = re.sub(r"^aggregate(\d)", lambda found: f"aggregates/{int(found[1]) - 1}", path)
        if path.endswith("/kernel") and array.ndim == 2:
            array = array[None, None]
        elif "norm/" in path:
            array = array.reshape(1, -1, 1, 1)
        return super().parameter_from_ours(path, array)
