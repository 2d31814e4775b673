"""Display of a running training: a progress line, TensorBoard curves and a profile."""

import collections
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from atnet_jax.training.event_file import EventFile
from atnet_jax.words import numbered

# Speeds are averages over this number of seconds: long enough to be steady, yet recent.
_RECENT = 60.0
# Seconds between two updates of the line, on a terminal and in a log file, which keeps every line.
_TERMINAL_INTERVAL, _LOG_INTERVAL = 0.1, 30.0
_LONGEST_NAME = 24


class UnitEpoch(NamedTuple):
    """One epoch of one unit, which is a fold trained with a seed.

    Attributes:
        seed: Seed of the run.
        fold: Number of the fold.
        name: Name of the fold, such as "casme2/sub01".
        epoch: Number of the epoch, from 1.
        loss: Mean training loss.
        accuracy: Training accuracy, 0 to 1.
        learning_rate: Learning rate of the epoch.
        steps: Number of optimiser steps of this unit in the epoch.
        clips: Number of training clips in these steps.
        validation_uf1: UF1 of the validation clips that choose the unit's epoch, None without such
            clips or if they were not scored.
    """

    seed: int
    fold: int
    name: str
    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    steps: int
    clips: int
    validation_uf1: float | None = None


class Watch:
    """Progress line of a training on standard error, and curves for TensorBoard.

    TensorBoard receives training loss, training accuracy and learning rate, but no values of
    held-out clips. Each unit has the folder tensorboard/fold_NNN in the folder of its run. An error
    in these files does not stop the training: it is reported once, and writing them ends.
    """

    def __init__(
        self,
        description: str,
        epochs: int,
        done: Mapping[tuple[int, int], int],
        folders: Mapping[int, Path],
    ) -> None:
        """Store the arguments; display and writing start at the `with` statement.

        Args:
            description: Description of the training, such as "cde fusion".
            epochs: Number of epochs of every unit.
            done: Number of epochs in the checkpoint of each unit, by (seed, fold number).
            folders: Folder of the run of each seed.
        """
        self._description = description
        self._epochs = epochs
        self._done = dict(done)
        self._folders = folders
        self._finished = sum(count == epochs for count in done.values())
        self._left = len(done) * epochs - sum(done.values())
        self._pace = _Pace()
        self._event_files: dict[tuple[int, int], EventFile] = {}
        self._writes_events = True

    def __enter__(self) -> "Watch":
        terminal = sys.stderr.isatty()
        if trained := sum(self._done.values()):
            begun = sum(0 < count < self._epochs for count in self._done.values())
            print(
                f"Resuming: {self._finished} of {len(self._done)} folds are finished and {begun}"
                f" begun, {trained} of {trained + self._left} epochs in all."
            )
        self._bar = tqdm(
            total=len(self._done) * self._epochs,
            initial=sum(self._done.values()),
            desc=self._description,
            file=_Stderr(),
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}",
            # The line stays as it is until the first epoch is over, and compiling takes longest.
            postfix=self._folds() + (", compiling" if self._left else ""),
            dynamic_ncols=True,
            mininterval=_TERMINAL_INTERVAL if terminal else _LOG_INTERVAL,
            miniters=1,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._close_event_files()
        self._bar.close()

    def epoch(self, group: Sequence[UnitEpoch]) -> None:
        """Record one epoch of the units that train together.

        The files of a group stay open until a call has another group.

        Args:
            group: The epoch of each unit.
        """
        self._write_events(group)
        self._finished += sum(unit.epoch == self._epochs for unit in group)
        self._pace.add(
            monotonic(), len(group), sum(u.steps for u in group), sum(u.clips for u in group)
        )
        parts = [self._folds()]
        if self._pace.rates is not None:
            units, steps, clips = self._pace.rates
            left = (self._bar.total - self._bar.n - len(group)) / units
            parts += [
                f"{_number(steps)} steps/s",
                f"{_number(clips)} clips/s",
                f"{tqdm.format_interval(left)} left",
            ]
        name = group[0].name
        if len(name) > _LONGEST_NAME:
            name = f"{name[: _LONGEST_NAME - 1]}…"
        others = f" +{len(group) - 1}" if len(group) > 1 else ""
        loss = sum(unit.loss for unit in group) / len(group)
        parts.append(f"{name}{others}: loss {loss:.3f}")
        uf1 = [unit.validation_uf1 for unit in group if unit.validation_uf1 is not None]
        if uf1:
            parts.append(f"validation UF1 {sum(uf1) / len(uf1):.3f}")
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        self._bar.update(len(group))

    def set_back(self, epochs: int) -> None:
        """Subtract epochs of damaged checkpoints, which must be trained again."""
        self._bar.n -= epochs
        self._bar.refresh()

    def _folds(self) -> str:
        return f"{self._finished}/{numbered(len(self._done), 'fold')}"

    def _write_events(self, group: Sequence[UnitEpoch]) -> None:
        if not self._writes_events:
            return
        try:
            keys = [(unit.seed, unit.fold) for unit in group]
            if keys != list(self._event_files):
                self._close_event_files()
                for (seed, fold), unit in zip(keys, group, strict=True):
                    self._event_files[seed, fold] = EventFile(
                        self._folders[seed] / "tensorboard" / f"fold_{fold:03d}", unit.epoch
                    )
            for unit, file in zip(group, self._event_files.values(), strict=True):
                file.scalars(
                    unit.epoch,
                    {
                        "training/loss": float(unit.loss),
                        "training/accuracy": float(unit.accuracy),
                        "training/learning_rate": float(unit.learning_rate),
                    },
                )
        except OSError as error:
            self._writes_events = False
            self._close_event_files()
            self._bar.write(
                f"Cannot write scalars for TensorBoard: {error}. Training continues without them.",
                file=self._bar.fp,
            )

    def _close_event_files(self) -> None:
        for file in self._event_files.values():
            file.close()
        self._event_files.clear()


def profile(folder: Path | None) -> contextlib.AbstractContextManager[Any]:
    """Return a context that writes a profiler trace of host and device.

    TensorBoard with xprof shows the trace. Computations started in the context must end in it: the
    caller must fetch their results.

    Args:
        folder: The trace is written to `folder`/plugins/profile. None turns profiling off.
    """
    return contextlib.nullcontext() if folder is None else jax.profiler.trace(folder)


class _Pace:
    """Recent speed of a training.

    The first epoch, which is mostly compilation, does not count; scoring and saving between epochs
    do.

    Attributes:
        rates: Unit-epochs, steps and clips per second; None until they are known.
    """

    def __init__(self) -> None:
        self.rates: tuple[float, float, float] | None = None
        self._total = np.zeros(3)  # Unit-epochs, steps and clips.
        self._marks: collections.deque[tuple[float, np.ndarray]] = collections.deque()

    def add(self, now: float, units: int, steps: int, clips: int) -> None:
        """Record the work since the last call; `now` is the time in seconds."""
        self._total = np.add(self._total, (units, steps, clips))
        self._marks.append((now, self._total))
        while len(self._marks) > 2 and self._marks[1][0] <= now - _RECENT:
            self._marks.popleft()
        start, total_then = self._marks[0]
        if now > start:
            units_s, steps_s, clips_s = ((self._total - total_then) / (now - start)).tolist()
            self.rates = units_s, steps_s, clips_s


class _Stderr:
    """Standard error without write errors: a full disk under a log file must not stop training."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"
