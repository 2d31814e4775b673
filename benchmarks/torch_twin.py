"""The same training in PyTorch, one fold after the other, as it is mostly done.

    python -m benchmarks.torch_twin WHAT FOLDER DEVICE [SETTINGS]

It is started by the benchmark, maybe by another interpreter: nothing here needs JAX. WHAT is

- "about": tells PyTorch's version and what it can compute on;
- "check": compares outputs and gradients with those in the folder's check.npz;
- "choose": tries the settings that make PyTorch fast on DEVICE ("cpu" or "cuda") and tells each
  one's speed;
- "train": trains the folder's task once a request, with SETTINGS, one of those, as JSON.

The networks are those of `atnet_jax.models`. Clips lie on the device; the host waits for it once at
the end of all folds. One network serves all folds, its parameters drawn anew for each, so that what
is compiled for it stays.
"""

import dataclasses
import functools
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks import worker


class Block(nn.Module):
    """Pre-activation residual block, halving height and width; the first one does neither."""

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
        """`[batch, channel, height, width]`, before and after."""
        if not self.first:
            x = F.relu(self.bn1(x))
        shortcut = x if self.first else self.conv_expand(x)
        return self.conv2(F.relu(self.bn2(self.conv1(x)))) + shortcut


class ResNet10(nn.Module):
    """Apex frame, 0…255, `[batch, 1, height, width]` → `[batch, 512]`."""

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
        """See the class."""
        x = F.relu(self.conv1_bn(self.conv1(self.data_bn(x))))
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        x = self.layer_512_1(self.layer_256_1(self.layer_128_1(self.layer_64_1(x))))
        return F.relu(self.last_bn(x)).mean((2, 3))


class ATNet(nn.Module):
    """The fusion of both streams, or one of them alone."""

    def __init__(self, streams: tuple[str, ...], lstm_autocast: bool) -> None:
        super().__init__()
        if "spatial" in streams:
            self.spatial = ResNet10()
        if "temporal" in streams:
            self.temporal = nn.LSTM(128, 512, num_layers=2, batch_first=True)
            # One bias a gate, as Caffe has: PyTorch's second one would double its rate.
            self.temporal.bias_hh_l0.requires_grad_(False)
            self.temporal.bias_hh_l1.requires_grad_(False)
        self.dropout = nn.Dropout(0.5 if len(streams) == 2 else 0.0)
        self.classifier = nn.Linear(512 * len(streams), 3)
        self._streams = streams
        self._lstm_autocast = lstm_autocast

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits `[batch, 3]` of "apex" `[batch, 1, height, width]`, "adm" `[batch, 64, 128]`."""
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


class STSTNet(nn.Module):
    """Layers and training as in its published port (github.com/christy1206/STSTNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(3, n, 3, padding=2) for n in (3, 5, 8))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (3, 5, 8))
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(400, 3)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits `[batch, 3]` of "flow_map" `[batch, 3, 28, 28]`, 0…255."""
        x = inputs["flow_map"]
        streams = [
            self.dropout(F.max_pool2d(norm(F.relu(convolution(x))), 3, stride=3, padding=1))
            for convolution, norm in zip(self.convolutions, self.norms, strict=True)
        ]
        return self.classifier(F.avg_pool2d(torch.cat(streams, 1), 2).flatten(1))

    def reset(self) -> None:
        """Draws all parameters anew, in place."""
        for module in self.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()


def parameters_from_ours(model: str, ours: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The twin's parameters, or their gradients, from our network's, named with slashes."""
    if model == "ststnet":
        kernel = ours["streams/kernel"].reshape(3, 3, 3, 16).transpose(3, 2, 0, 1)
        classifier = ours["classifier/kernel"].reshape(5, 5, 16, 3).transpose(3, 2, 0, 1)
        found = {
            "classifier.weight": classifier.reshape(3, 400),
            "classifier.bias": ours["classifier/bias"],
        }
        for name, whole in (
            ("convolutions.{}.weight", kernel),
            ("convolutions.{}.bias", ours["streams/bias"]),
            ("norms.{}.weight", ours["norm/scale"]),
            ("norms.{}.bias", ours["norm/bias"]),
        ):
            parts = np.split(whole, (3, 8))
            found |= {name.format(k): part for k, part in enumerate(parts)}
        return found

    found = {}
    for path, array in ours.items():
        stream, *layer, leaf = path.split("/")
        if stream == "temporal":
            name = {"input_kernel": "weight_ih", "recurrent_kernel": "weight_hh"}
            i, f, o, g = np.split(array, 4, axis=-1)  # PyTorch orders the gates i, f, g, o.
            number = int(layer[0].removeprefix("lstm")) - 1
            found[f"temporal.{name.get(leaf, 'bias_ih')}_l{number}"] = np.concatenate(
                [i, f, g, o], axis=-1
            ).T
        elif stream == "classifier":
            found["classifier.weight" if leaf == "kernel" else "classifier.bias"] = array.T
        else:
            module = re.sub(r"(layer_\d+_1)_", r"\1.", layer[0])
            array = array.transpose(3, 2, 0, 1) if leaf == "kernel" else array
            found[f"spatial.{module}.{'bias' if leaf == 'bias' else 'weight'}"] = array
    return found


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turns square pictures clockwise about their centres, each by its own angle.

    Args:
      images: `[batch, 1, size, size]`.
      degrees: `[batch]`.
    """
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    zero = torch.zeros_like(cos)
    matrices = torch.stack([cos, sin, zero, -sin, cos, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=True)


def augment(images: Tensor, how: Mapping[str, Any]) -> Tensor:
    """Mirrors, rotates and shifts the grey levels of each picture by its own draw."""
    batch, device = len(images), images.device
    mirrored, rotated, shifted = torch.rand(3, batch, device=device) < how["probability"]
    turn, shift = torch.rand(2, batch, device=device) * 2 - 1
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    images = rotate(images, rotated * turn * how["rotation"])
    return (images + (shifted * shift * how["shift"]).view(-1, 1, 1, 1)).clamp(0, 255)


def to_grey_levels(maps: Tensor) -> Tensor:
    """Each channel of each map linearly to 0…255; a flat one to 0."""
    low = maps.amin((2, 3), keepdim=True)
    span = maps.amax((2, 3), keepdim=True) - low
    return (maps - low) * (255 / torch.where(span > 0, span, 1.0))


@dataclasses.dataclass(frozen=True)
class Settings:
    """What makes PyTorch faster or slower without changing the training.

    Attributes:
      threads: of the CPU; 0 leaves their number alone.
      channels_last: memory format of pictures and kernels.
      compile: mode of `torch.compile`; "" compiles nothing. LSTMs are never compiled: cuDNN's are
        faster.
      lstm_autocast: in bfloat16, whether LSTMs are too.
    """

    threads: int = 0
    channels_last: bool = False
    compile: str = ""
    lstm_autocast: bool = True

    def apply(self, precision: str) -> None:
        """Sets what belongs to the process."""
        if self.threads:
            torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = True
        # What autocast leaves in float32 may as well be rounded to TF32.
        torch.backends.cudnn.allow_tf32 = precision != "float32"
        torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")


def candidates(model: str, precision: str, device: str) -> list[Settings]:
    """The settings worth trying."""
    pictures = model != "temporal"
    cores = os.cpu_count() or 1
    axes = {
        "threads": sorted({1, max(1, cores // 2), cores}) if device == "cpu" else [0],
        # On a GPU, tensor cores want it.
        "channels_last": ([False, True] if device == "cpu" else [True]) if pictures else [False],
        "compile": ["", "default", "reduce-overhead"] if device == "cuda" and pictures else [""],
        "lstm_autocast": [True, False]
        if precision == "bfloat16" and model in ("fusion", "temporal")
        else [True],
    }
    return [
        Settings(**dict(zip(axes, values, strict=True)))
        for values in itertools.product(*axes.values())
    ]


Batch = tuple[dict[str, Tensor], Tensor]
"""Inputs by name, and labels."""


class Training:
    """A task, made ready on a device, "cpu" or "cuda"."""

    def __init__(self, folder: Path, device: str, settings: Settings) -> None:
        self.config = read_config(folder)
        settings.apply(self.config["precision"])
        self._device, self._settings = device, settings
        with np.load(folder / "clips.npz", allow_pickle=False) as arrays:
            self._inputs = inputs_from(arrays, device)
            self._labels = torch.from_numpy(arrays["labels"]).long()
            self._folds = [
                torch.from_numpy(train)
                for train in np.split(arrays["train"], arrays["train_ends"][:-1])
            ]
        self._labels_there = self._labels.to(device)
        self._model = build(self.config["model"], settings, device)

    def all_folds(self) -> float:
        """Trains every fold for every seed; the mean loss of the last epoch."""
        losses = [
            self.one_fold(train, self.config["num_epochs"], self.config["steps_per_epoch"])
            for _ in self.config["seeds"]
            for train in self._folds
        ]
        return torch.stack(losses).mean().item()

    def first_fold(self, epochs: int, steps: int) -> float:
        """Trains the first fold alone; see `one_fold`."""
        return self.one_fold(self._folds[0], epochs, steps).item()

    def one_fold(self, train: Tensor, epochs: int, steps: int) -> Tensor:
        """Trains one fold from its start; 0 steps an epoch are one pass over its clips.

        Returns:
          The mean loss of the last epoch's steps, still on the device.
        """
        config, model = self.config, self._model
        model.reset()
        model.train()
        optimizer = self._optimizer()
        every, factor = config["decay_epochs"] or epochs + 1, config["decay_factor"]
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, every, factor)
        low = config["precision"] == "bfloat16"
        losses: list[Tensor] = []
        for batches in itertools.islice(self._epochs(train, steps), epochs):
            losses = []
            for inputs, labels in batches:
                if "apex" in inputs:
                    inputs["apex"] = augment(inputs["apex"], config["augment"])
                if self._settings.channels_last:
                    inputs = {name: as_channels_last(x) for name, x in inputs.items()}
                if self._settings.compile == "reduce-overhead":
                    torch.compiler.cudagraph_mark_step_begin()
                optimizer.zero_grad()
                with torch.autocast(self._device, torch.bfloat16, enabled=low):
                    loss = F.cross_entropy(model(inputs), labels)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            schedule.step()
        return torch.stack(losses).mean()

    def _epochs(self, train: Tensor, steps: int) -> Iterator[Iterable[Batch]]:
        """The batches of one epoch after the other, without end; see `one_fold`."""
        samples = self._balanced(train)
        while True:
            if steps:
                yield (self._gather(indices) for indices in itertools.islice(samples, steps))
            else:
                order = train[torch.randperm(len(train))].to(self._device)
                yield (self._gather(indices) for indices in order.split(self.config["batch_size"]))

    def _gather(self, indices: Tensor) -> Batch:
        inputs = {name: x[indices].float() for name, x in self._inputs.items()}
        return inputs, self._labels_there[indices]

    def _balanced(self, train: Tensor) -> Iterator[Tensor]:
        """Batches from an endless row of passes in which all classes are equally many."""
        labels = self._labels[train]
        members = [train[labels == label] for label in labels.unique()]
        most = max(map(len, members)) if self.config["balance_classes"] else 0
        rest = torch.empty(0, dtype=torch.long, device=self._device)
        while True:
            more = [own[torch.randint(len(own), (max(most - len(own), 0),))] for own in members]
            samples = torch.cat([train, *more])
            samples = samples[torch.randperm(len(samples))].to(self._device)
            *full, rest = torch.cat([rest, samples]).split(self.config["batch_size"])
            yield from full

    def _optimizer(self) -> Any:
        config = self.config
        rate, model = config["learning_rate"], self._model
        if config["optimizer"] == "adam":
            return torch.optim.Adam(model.parameters(), rate, fused=True)
        decay, bias_rate = config["weight_decay"], rate * config["bias_learning_rate_factor"]
        groups: dict[str, dict[str, Any]] = {
            "weights": {"params": [], "lr": rate, "weight_decay": decay},
            "biases": {"params": [], "lr": bias_rate, "weight_decay": decay},
            "classifier bias": {"params": [], "lr": bias_rate, "weight_decay": 0.0},
        }
        for name, parameter in model.named_parameters():
            group = "weights"
            if name.endswith(".bias"):
                group = "classifier bias" if name.startswith("classifier") else "biases"
            if parameter.requires_grad:
                groups[group]["params"].append(parameter)
        return torch.optim.SGD(
            [group for group in groups.values() if group["params"]],
            momentum=config["momentum"],
            fused=True,
        )


def build(model: str, settings: Settings, device: str) -> Any:
    """The network, on the device."""
    if model == "ststnet":
        network = STSTNet()
    else:
        streams = ("spatial", "temporal") if model == "fusion" else (model,)
        network = ATNet(streams, settings.lstm_autocast)
    network = network.to(device)
    if settings.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if settings.compile:
        (network if model == "ststnet" else network.spatial).compile(mode=settings.compile)
    return network


def as_channels_last(x: Tensor) -> Tensor:
    """Pictures in that memory format; anything else as it is."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def inputs_from(arrays: Any, device: str) -> dict[str, Tensor]:
    """The arrays "input_…" as tensors on the device, channels first, flow maps at grey levels."""
    inputs = {}
    for name in arrays.files:
        if name.startswith("input_"):
            x = torch.from_numpy(arrays[name]).to(device)
            inputs[name.removeprefix("input_")] = (
                x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
            )
    if "flow_map" in inputs:
        inputs["flow_map"] = to_grey_levels(inputs["flow_map"])
    return inputs


def about() -> dict[str, Any]:
    """PyTorch's version and the devices there are for it."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return {"torch": torch.__version__, "devices": devices}


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of the task's training, those of its recipe beside the others."""
    config = json.loads((folder / "task.json").read_text(encoding="utf-8"))["config"]
    return {**config, **config["recipe"]}


def check(folder: Path, device: str) -> dict[str, Any]:
    """Relative errors against our outputs and gradients; see `benchmarks.ours.check`.

    An error is the length of the difference over that of ours. The length of one parameter's
    gradient counts as at least 1 % of the whole gradient's: some are zero but for rounding, as that
    of conv1's bias, which a normalisation follows.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    name = read_config(folder)["model"]
    model = build(name, Settings(), device)
    model.train()
    model.reset()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with np.load(folder / "check.npz", allow_pickle=False) as arrays:
        inputs = inputs_from(arrays, device)
        labels = torch.from_numpy(arrays["labels"]).long().to(device)
        given, expected = (
            parameters_from_ours(
                name,
                {
                    key.removeprefix(prefix): arrays[key]
                    for key in arrays.files
                    if key.startswith(prefix)
                },
            )
            for prefix in ("params/", "gradients/")
        )
        parameters = {key: p for key, p in model.named_parameters() if p.requires_grad}
        if different := set(parameters) ^ set(given):
            return {"errors": {}, "unknown": sorted(different)}
        with torch.no_grad():
            for key, parameter in parameters.items():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(given[key])))
        logits = model(inputs)
        F.cross_entropy(logits, labels).backward()
        errors = {"logits": _relative(logits, arrays["logits"])}
        if "degrees" in arrays.files:
            turned = rotate(inputs["apex"], torch.from_numpy(arrays["degrees"]).to(device))
            errors["rotation"] = _relative(turned, arrays["rotated"].transpose(0, 3, 1, 2))
    whole = np.sqrt(sum(np.square(array).sum() for array in expected.values()))
    errors["gradients"] = max(
        _relative(parameter.grad, expected[key], at_least=0.01 * whole)
        for key, parameter in parameters.items()
    )
    return {"errors": errors, "unknown": []}


def _relative(theirs: Tensor, ours: np.ndarray, at_least: float = 0.0) -> float:
    difference = np.linalg.norm(theirs.detach().cpu().numpy().ravel() - ours.ravel())
    return float(difference / max(np.linalg.norm(ours), at_least))


def choose(folder: Path, device: str) -> dict[str, Any]:
    """Tries each of the `candidates` for about a second; the fastest comes first.

    One that this PyTorch cannot do here is listed with its error.
    """
    config = read_config(folder)
    whole_passes = config["steps_per_epoch"] == 0
    tried = []
    for settings in candidates(config["model"], config["precision"], device):
        row: dict[str, Any] = {"settings": dataclasses.asdict(settings)}
        try:
            training = Training(folder, device, settings)
            amount = (5, 0) if whole_passes else (1, 5)
            training.first_fold(*amount)
            seconds, begin = [], time.perf_counter()
            while not seconds or time.perf_counter() - begin < 1:
                start = time.perf_counter()
                training.first_fold(*amount)
                seconds.append((time.perf_counter() - start) / 5)
            row["milliseconds"] = 1000 * min(seconds)
        except RuntimeError as error:
            row["error"] = str(error).splitlines()[0]
        tried.append(row)
    return {
        "tried": sorted(tried, key=lambda row: row.get("milliseconds", float("inf"))),
        "torch": torch.__version__,
        "unit": "epoch" if whole_passes else "step",
    }


def main(what: str, folder: Path, device: str, settings: str = "{}") -> None:
    """Answers requests."""

    def prepare() -> Callable[[], dict[str, Any]]:
        if what == "about":
            return about
        if what == "check":
            return functools.partial(check, folder, device)
        if what == "choose":
            return functools.partial(choose, folder, device)
        training = Training(folder, device, Settings(**json.loads(settings)))
        return lambda: {"loss": training.all_folds()}

    def device_peak() -> int | None:
        return torch.cuda.max_memory_allocated() if device == "cuda" else None

    worker.serve(prepare, device_peak)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
