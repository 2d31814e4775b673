"""The same training in PyTorch, one fold after another, as is common practice.

    python -m benchmarks.torch_twin WHAT FOLDER DEVICE [SETTINGS]

The benchmark starts this module, possibly with an interpreter without JAX. WHAT is

- "about": report PyTorch's version and devices;
- "check": compare outputs and gradients with check.npz in the folder;
- "choose": measure the speed of different settings of PyTorch on DEVICE ("cpu" or "cuda");
- "train": train the task of the folder at each request, with SETTINGS as JSON.

The networks are those of `benchmarks.twins`. Clips stay on the device, and the host waits for the
device only after all folds. All folds use one network, which is initialised again for each, so that
it is compiled only once.
"""

import dataclasses
import functools
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from benchmarks import twins, worker


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate square pictures clockwise about their centres.

    Args:
        images: Pictures, `[batch, 1, size, size]`.
        degrees: Angle of each picture in degrees, `[batch]`.

    Returns:
        The rotated pictures, `[batch, 1, size, size]`.
    """
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    zero = torch.zeros_like(cos)
    matrices = torch.stack([cos, sin, zero, -sin, cos, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=True)


def augment(images: Tensor, how: Mapping[str, Any]) -> Tensor:
    """Mirror and rotate each picture and shift its grey levels, by separate random draws."""
    batch, device = len(images), images.device
    mirrored, rotated, shifted = torch.rand(3, batch, device=device) < how["probability"]
    turn, shift = torch.rand(2, batch, device=device) * 2 - 1
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    images = rotate(images, rotated * turn * how["rotation"])
    return (images + (shifted * shift * how["shift"]).view(-1, 1, 1, 1)).clamp(0, 255)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that change PyTorch's speed without changing the training.

    Attributes:
        threads: Number of CPU threads; 0 keeps PyTorch's default.
        channels_last: Use this memory format for pictures and kernels.
        compile: Mode of `torch.compile`; "" turns compilation off. LSTMs are never compiled,
            because cuDNN's LSTMs are faster.
        lstm_autocast: With bfloat16 precision, also use bfloat16 in LSTMs.
    """

    threads: int = 0
    channels_last: bool = False
    compile: str = ""
    lstm_autocast: bool = True

    def apply(self, precision: str) -> None:
        """Apply the settings of the process."""
        if self.threads:
            torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = True
        # Operations that autocast keeps in float32 may use TF32.
        torch.backends.cudnn.allow_tf32 = precision != "float32"
        torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")


def candidates(model: str, precision: str, device: str) -> list[Settings]:
    """Return the settings that `choose` tries."""
    pictures = model != "temporal"
    cores = os.cpu_count() or 1
    axes = {
        "threads": sorted({1, max(1, cores // 2), cores}) if device == "cpu" else [0],
        # Tensor cores of GPUs are faster with channels_last.
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
"""Inputs by name, and labels of a batch."""


class Training:
    """A task prepared on a device, "cpu" or "cuda"."""

    def __init__(self, folder: Path, device: str, settings: Settings) -> None:
        self.config = read_config(folder)
        settings.apply(self.config["precision"])
        self._device, self._settings = device, settings
        with np.load(folder / "clips.npz", allow_pickle=False) as arrays:
            inputs = inputs_from(arrays, device)
            self._labels = torch.from_numpy(arrays["labels"]).long()
            self._folds = [
                torch.from_numpy(train)
                for train in np.split(arrays["train"], arrays["train_ends"][:-1])
            ]
        self._labels_there = self._labels.to(device)
        self._model = build(self.config["model"], settings, device)
        self._inputs = self._model.prepare(inputs)

    def all_folds(self) -> float:
        """Train every fold for every seed, and return the mean loss of the last epoch."""
        losses = [
            self.one_fold(train, self.config["num_epochs"], self.config["steps_per_epoch"])
            for _ in self.config["seeds"]
            for train in self._folds
        ]
        return torch.stack(losses).mean().item()

    def first_fold(self, epochs: int, steps: int) -> float:
        """Train only the first fold, and return its loss; see `one_fold`."""
        return self.one_fold(self._folds[0], epochs, steps).item()

    def one_fold(self, train: Tensor, epochs: int, steps: int) -> Tensor:
        """Train one fold from the beginning.

        Args:
            train: Indices of the training clips.
            epochs: Number of epochs.
            steps: Number of steps per epoch; 0 makes an epoch one pass over the clips.

        Returns:
            The mean loss of the steps of the last epoch, on the device.
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
        """Yield the batches of one epoch after another, endlessly; see `one_fold`."""
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
        """Yield batches from an endless sequence of class-balanced passes."""
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
        rate, decay, model = config["learning_rate"], config["weight_decay"], self._model
        if config["optimizer"] == "adam":
            return torch.optim.Adam(model.parameters(), rate, weight_decay=decay, fused=True)
        bias_rate = rate * config["bias_learning_rate_factor"]
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


def build(model: str, settings: Settings, device: str) -> twins.Twin:
    """Return the network, on the device."""
    network = twins.build(model, settings.lstm_autocast).to(device)
    if settings.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if settings.compile:
        network.part_to_compile().compile(mode=settings.compile)
    return network


def as_channels_last(x: Tensor) -> Tensor:
    """Convert pictures to this memory format; return other tensors unchanged."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def inputs_from(arrays: Any, device: str) -> dict[str, Tensor]:
    """Return the arrays "input_…" as tensors, channels first."""
    inputs = {}
    for name in arrays.files:
        if name.startswith("input_"):
            x = torch.from_numpy(arrays[name]).to(device)
            inputs[name.removeprefix("input_")] = (
                x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
            )
    return inputs


def about() -> dict[str, Any]:
    """Return PyTorch's version and its devices."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return {"torch": torch.__version__, "devices": devices}


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of the task's training, with those of the recipe at the top level."""
    config = json.loads((folder / "task.json").read_text(encoding="utf-8"))["config"]
    return {**config, **config["recipe"]}


def check(folder: Path, device: str) -> dict[str, Any]:
    """Compare outputs and gradients with those of `benchmarks.ours.check`.

    An error is the norm of the difference, relative to the norm of the expected array. The norm of
    a parameter's gradient counts as at least 1 % of the norm of the whole gradient, because some
    gradients are zero except for rounding: for example, normalisation cancels the bias of conv1.

    Args:
        folder: Folder of the task.
        device: "cpu" or "cuda".

    Returns:
        Relative errors by name, and the parameters that only one network has.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    model = build(read_config(folder)["model"], Settings(), device)
    model.train()
    model.reset()
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    with np.load(folder / "check.npz", allow_pickle=False) as arrays:
        inputs = model.prepare(inputs_from(arrays, device))
        labels = torch.from_numpy(arrays["labels"]).long().to(device)
        given, expected = (
            model.parameters_from_ours(
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
    """Measure each of the `candidates` for about a second.

    Args:
        folder: Folder of the task.
        device: "cpu" or "cuda".

    Returns:
        The settings, fastest first, with milliseconds per step or epoch, or with the error if
        PyTorch cannot use them here.
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
    """Answer requests of the benchmark."""

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
