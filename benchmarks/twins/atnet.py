"""ATNet in PyTorch: the fusion of both streams, or one stream."""

import re

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks.twins.twin import Twin


class Block(nn.Module):
    """Pre-activation residual block that halves height and width (not in the first block)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.first = channels_in == channels
        if not self.first:
            self.bn1 = nn.BatchNorm2d(channels_in)
            self.conv_expand = nn.Conv2d(channels_in, channels, 1, stride=2, bias=False)
        stride = 1 if self.first else 2
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `[batch, channel, height, width]`, in the same axes."""
        if not self.first:
            x = F.relu(self.bn1(x))
        shortcut = x if self.first else self.conv_expand(x)
        return self.conv2(F.relu(self.bn2(self.conv1(x)))) + shortcut


class ResNet10(nn.Module):
    """Network from apex frames, 0…255, `[batch, 1, height, width]`, to features `[batch, 512]`."""

    def __init__(self) -> None:
        super().__init__()
        self.data_bn = nn.BatchNorm2d(1)
        self.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3)
        self.conv1_bn = nn.BatchNorm2d(64)
        self.layer_64_1 = Block(64, 64)
        self.layer_128_1 = Block(64, 128)
        self.layer_256_1 = Block(128, 256)
        self.layer_512_1 = Block(256, 512)
        self.last_bn = nn.BatchNorm2d(512)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of apex frames; see the class."""
        x = F.relu(self.conv1_bn(self.conv1(self.data_bn(x))))
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        x = self.layer_512_1(self.layer_256_1(self.layer_128_1(self.layer_64_1(x))))
        return F.relu(self.last_bn(x)).mean((2, 3))


class ATNet(Twin):
    """Fusion of both streams, or one of the streams."""

    def __init__(self, streams: tuple[str, ...], lstm_autocast: bool) -> None:
        super().__init__()
        if "spatial" in streams:
            self.spatial = ResNet10()
        if "temporal" in streams:
            self.temporal = nn.LSTM(128, 512, num_layers=2, batch_first=True)
            # Caffe has one bias per gate; a second trainable one would double its learning rate.
            self.temporal.bias_hh_l0.requires_grad_(False)
            self.temporal.bias_hh_l1.requires_grad_(False)
        self.dropout = nn.Dropout(0.5 if len(streams) == 2 else 0.0)
        self.classifier = nn.Linear(512 * len(streams), 3)
        self._streams = streams
        self._lstm_autocast = lstm_autocast

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits `[batch, 3]`.

        Args:
            inputs: "apex" `[batch, 1, height, width]` and "adm" `[batch, 64, 128]`.
        """
        features = []
        if "spatial" in self._streams:
            features.append(F.normalize(self.spatial(inputs["apex"]), dim=1))
        if "temporal" in self._streams:
            adm = inputs["adm"]
            enabled = self._lstm_autocast and torch.is_autocast_enabled(adm.device.type)
            with torch.autocast(adm.device.type, torch.bfloat16, enabled=enabled):
                outputs, _ = self.temporal(adm)
            features.append(F.normalize(outputs.float().mean(1), dim=1))
        return self.classifier(self.dropout(torch.cat(features, 1)))

    def reset(self) -> None:
        """Draws all parameters anew, in place."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.LSTM):
                for name, parameter in module.named_parameters():
                    nn.init.normal_(parameter, std=0.1 if name.startswith("weight") else 0.0)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.bias, 0.2)

    def part_to_compile(self) -> nn.Module:
        """Return the spatial stream: cuDNN's LSTMs are faster than compiled ones."""
        return self.spatial

    def parameter_from_ours(self, path: str, array: np.ndarray) -> dict[str, np.ndarray]:
        """Convert one parameter; see `Twin`."""
        stream, *layer, leaf = path.split("/")
        if stream == "temporal":
            name = {"input_kernel": "weight_ih", "recurrent_kernel": "weight_hh"}
            i, f, o, g = np.split(array, 4, axis=-1)  # PyTorch orders the gates i, f, g, o.
            number = int(layer[0].removeprefix("lstm")) - 1
            gates = np.concatenate([i, f, g, o], axis=-1)
            return {f"temporal.{name.get(leaf, 'bias_ih')}_l{number}": gates.T}
        if stream == "classifier":
            return super().parameter_from_ours(f"classifier/{leaf}", array)
        module = re.sub(r"(layer_\d+_1)_", r"\1/", layer[0])
        return super().parameter_from_ours(f"spatial/{module}/{leaf}", array)
