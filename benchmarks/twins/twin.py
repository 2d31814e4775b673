"""Base class of the twins, and conversions of arrays."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]


class Twin(nn.Module):
    """A network from the inputs of a batch by name, channels first, to logits `[batch, 3]`."""

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs of all clips as `forward` expects them; called once per training."""
        return inputs

    def reset(self) -> None:
        """Draws all parameters anew, in place."""
        for module in self.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def part_to_compile(self) -> nn.Module:
        """Return the module that `torch.compile` compiles."""
        return self

    def parameters_from_ours(self, ours: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Convert parameters, or their gradients, of this package's network to those of the twin.

        Args:
            ours: Arrays by name, joined by slashes.

        Returns:
            Arrays by their name in PyTorch.
        """
        found = {}
        for path, array in ours.items():
            found |= self.parameter_from_ours(path, array)
        return found

    def parameter_from_ours(self, path: str, array: np.ndarray) -> dict[str, np.ndarray]:
        """Convert one parameter. Here the layers of both networks have the same names.

        Args:
            path: Name of the parameter, joined by slashes.
            array: Its values.

        Returns:
            Arrays by their name in PyTorch.
        """
        *layer, leaf = path.split("/")
        if leaf == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        return {".".join([*layer, "bias" if leaf == "bias" else "weight"]): array}


def channels_first(kernel: np.ndarray, pixels: int, channels: int) -> np.ndarray:
    """Convert the weights of a linear layer after flattened pictures.

    Args:
        kernel: Weights `[picture · pixel · channel, feature]`.
        pixels: Number of pixels of a picture.
        channels: Number of channels.

    Returns:
        Weights `[feature, picture · channel · pixel]`.
    """
    features = kernel.shape[-1]
    parts = kernel.reshape(-1, pixels, channels, features).swapaxes(1, 2)
    return parts.reshape(-1, features).T


def to_unit_range(maps: Tensor) -> Tensor:
    """Scale each channel of each map linearly to 0…1; constant channels become 0."""
    low = maps.amin((2, 3), keepdim=True)
    span = maps.amax((2, 3), keepdim=True) - low
    return (maps - low) / (span + (span == 0))
