"""Our engine against a PyTorch twin that trains fold by fold: the same work, in turns.

    python -m benchmarks.engine --model=fusion --folds=4 --steps=20 --out=engine.json

trains the first folds of leave-one-subject-out on random clips, each fold for some steps, with
both, and prints samples per second, which share of the device's peak that is, memory, start-up time
and, worked out from the rate, the time of the whole evaluation. More: benchmarks/README.md.

How it is measured: first both networks must agree on one batch (outputs and gradients; otherwise
nothing is timed). PyTorch then tries its settings and keeps the fastest. Each side is a process
that stays; they train in turns, ours, theirs, ours, …, so that whatever else the machine does hits
both. Medians of the rounds are printed, and the ratio's smallest and largest. A round before them,
which compiles, does not count: the time from a process's start to the end of that round, less a
later round's, is the start-up time. Neither side scores held-out clips or writes checkpoints.
"""

import functools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags

from atnet_jax.config import Config, default_config
from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import Fold, make_folds
from atnet_jax.errors import UserError
from atnet_jax.training.engine import PRECISIONS
from benchmarks import flops, task
from benchmarks.worker import Worker, WorkerFailed

MODELS = ("fusion", "spatial", "temporal", "ststnet")
# Relative errors up to which the networks agree. Float32 rounds outputs by some 1e-6. A gradient
# can be off by 1 % where a value lies within rounding of a ReLU's or a maximum's kink.
TOLERANCES = {"logits": 1e-4, "rotation": 1e-4, "gradients": 2e-2}
FOLDS_GROWN = (1, 2, 4, 8, 16, 32, 68)
CLIPS_GROWN = (442, 1000, 2000, 5000, 10_000)

_MODEL = flags.DEFINE_enum("model", "fusion", MODELS, "The method.")
_FOLDS = flags.DEFINE_integer(
    "folds", None, "Folds to train: 4, all of --maps, up to 68 where they grow.", lower_bound=1
)
_CLIPS = flags.DEFINE_integer(
    "clips", None, "Random clips: 442, or up to 10,000 where they grow.", lower_bound=1
)
_STEPS = flags.DEFINE_integer(
    "steps", None, "Optimiser steps a fold (20), at most 50 or a multiple of it.", lower_bound=1
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", None, "STSTNet instead trains for epochs (20), passes over a fold.", lower_bound=1
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 224, "Of apex frames, in pixels.", lower_bound=8)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "The method's own if not given.")
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", list(PRECISIONS), "config.recipe.precision, and PyTorch's."
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Runs; each trains every fold.", lower_bound=1)
_GROW = flags.DEFINE_enum("grow", None, ("folds", "clips"), "What grows from row to row.")
_MAPS = flags.DEFINE_string("maps", None, "STSTNet: .npz file of real flow maps, not noise.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each side is measured.", lower_bound=3)
_TORCH_PYTHON = flags.DEFINE_string(
    "torch_python", sys.executable, "The interpreter that has PyTorch."
)
_NO_TWIN = flags.DEFINE_bool("no_twin", False, "Measure ours alone.")
_OUT = flags.DEFINE_string("out", None, "Also write everything to this JSON file.")

# Nothing compiled earlier may shorten a start-up, and two processes must fit on one GPU.
_OURS_ENVIRONMENT = {
    "JAX_COMPILATION_CACHE_DIR": None,
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
_TWIN_ENVIRONMENT = {"train": {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}}


def main(argv: Sequence[str]) -> None:
    """Measures, prints and writes."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        out = Path(_OUT.value) if _OUT.value else None
        measure(_work(), twin=not _NO_TWIN.value, out=out)
    except (UserError, WorkerFailed) as error:
        sys.exit(f"Error: {error}")


class Work(NamedTuple):
    """What is measured.

    Attributes:
      config: the training.
      clips: makes this many, which may take much memory.
      rows: of the table: how many clips, how many folds.
    """

    config: Config
    clips: Callable[[int], Composite]
    rows: list[tuple[int, int]]


def _work() -> Work:
    """What the flags ask for.

    Raises:
      UserError: they do not fit together.
    """
    config = default_config(_MODEL.value)
    config.recipe.precision = _PRECISION.value
    config.seeds = tuple(range(_SEEDS.value))
    config.data.image_size = _IMAGE_SIZE.value
    config.recipe.batch_size = _BATCH_SIZE.value or config.recipe.batch_size
    epoch = config.recipe.steps_per_epoch
    if epoch == 0:
        if _STEPS.value:
            raise UserError(f"{_MODEL.value} trains for --epochs, not --steps.")
        config.recipe.num_epochs = _EPOCHS.value or 20
    else:
        if _EPOCHS.value:
            raise UserError(f"{_MODEL.value} trains for --steps, not --epochs.")
        steps = _STEPS.value or 20
        config.recipe.steps_per_epoch = min(steps, epoch)
        config.recipe.num_epochs = max(1, steps // epoch)
        if config.recipe.num_epochs * config.recipe.steps_per_epoch != steps:
            raise UserError(f"--steps={steps}: above {epoch}, give a multiple of it.")

    if _MAPS.value:
        if _MODEL.value != "ststnet" or _CLIPS.value or _GROW.value == "clips":
            raise UserError("--maps goes with --model=ststnet, and holds as many clips as it does.")
        composite = task.flow_maps(Path(_MAPS.value))
        sizes = [len(composite.labels)]
        return Work(config, lambda _: composite, _rows(sizes, config, composite))
    grow = _GROW.value == "clips"
    sizes = _grown(CLIPS_GROWN, _CLIPS.value) if grow else [_CLIPS.value or task.CLIPS]
    make = functools.partial(task.random_composite, _MODEL.value, image_size=config.data.image_size)
    return Work(config, make, _rows(sizes, config, make(sizes[0])))


def _rows(sizes: Sequence[int], config: Config, composite: Composite) -> list[tuple[int, int]]:
    """How many clips and folds, row by row, given some of the clips.

    Raises:
      UserError: there are fewer folds than asked for.
    """
    available = len(make_folds(config.protocol, composite))
    if (_FOLDS.value or 0) > available:
        raise UserError(f"--folds={_FOLDS.value}: there are {available} subjects to leave out.")
    folds = [_FOLDS.value or (available if _MAPS.value else 4)]
    if _GROW.value == "folds":
        folds = _grown([n for n in FOLDS_GROWN if n < available] + [available], _FOLDS.value)
    return [(clips, count) for clips in sizes for count in folds]


def _grown(sizes: Sequence[int], largest: int | None) -> list[int]:
    """Those of the sizes that are not above `largest`, and `largest` itself, if it is given."""
    return sorted({*(n for n in sizes if largest is None or n < largest), largest or sizes[-1]})


def measure(work: Work, twin: bool, out: Path | None) -> None:
    """Measures each row, prints it and writes it to a JSON file, anew after each row.

    Raises:
      UserError: the networks disagree, or PyTorch cannot be used.
      WorkerFailed: a worker did.
    """
    config = work.config
    cost = flops.per_sample(config.model, config.data.image_size)
    unit = _unit(config)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch_devices = _torch_devices(folder) if twin else []
        with _ours("peak", folder) as ours:
            found = ours.ask()
        device = {key: found[key] for key in ("backend", "kind", "jax", "matmul_flops_per_second")}
        # On a CPU, float32's products alone are measured.
        peaks = device["matmul_flops_per_second"]
        peak = peaks.get(config.recipe.precision, peaks["float32"])
        print(
            f"{config.model}, batches of {config.recipe.batch_size}, {config.recipe.precision}:"
            f" training on a sample is {cost / 1e9:.4g} GFLOP\n"
            f"{device['kind']}, {os.cpu_count()} CPUs, JAX {device['jax']}:"
            f" matrix products reach {peak / 1e12:.4g} TFLOP/s;"
            f" {load:.1f} processes were busy before"
        )
        report: dict[str, Any] = {
            "model": config.model,
            "image_size": config.data.image_size,
            "batch_size": config.recipe.batch_size,
            "epochs": config.recipe.num_epochs,
            "steps_per_epoch": config.recipe.steps_per_epoch,
            "unit": unit,
            "precision": config.recipe.precision,
            "seeds": len(config.seeds),
            "device": {**device, "cpus": os.cpu_count(), "machine": platform.machine()},
            "load_before": load,
            "flops_per_sample": cost,
            "agreement": None,
            "torch": None,
            "rows": [],
        }
        settings = None
        if twin:
            where = {"gpu": "cuda"}.get(device["backend"], device["backend"])
            if where not in torch_devices:
                raise UserError(
                    f"JAX computes on {device['backend']}, but the PyTorch of"
                    f" {_TORCH_PYTHON.value} only on {', '.join(torch_devices)}: set JAX_PLATFORMS,"
                    f" name another --torch_python, or measure ours alone with --no_twin."
                )
            clips, count = work.rows[0]
            _save(folder, config, work.clips(clips), count)
            report["agreement"] = _agree(folder, where)
            report["torch"] = _choose(folder, where)
            settings = [where, json.dumps(report["torch"]["tried"][0]["settings"])]
        print(
            f"\n{'folds':>5} {'clips':>6}      {'samples/s':>10} {'of peak':>8} {'seconds':>8}"
            f" {'ms/fold-' + unit:>13} {'MiB':>7} {'start-up':>9}  whole, extrapolated"
        )
        for clips, count in work.rows:
            composite = work.clips(clips)
            _save(folder, config, composite, count)
            row = _row(folder, config, composite, count, settings, cost, peak)
            _print_row(row, unit)
            report["rows"].append(row)
            if out:
                out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _unit(config: Config) -> str:
    """What a fold's training is counted in: "step", or "epoch" where that is one pass."""
    return "step" if config.recipe.steps_per_epoch else "epoch"


def _save(folder: Path, config: Config, composite: Composite, count: int) -> None:
    folds = make_folds(config.protocol, composite)[:count]
    task.save(folder, config, composite, folds)


def _ours(what: str, folder: Path) -> Worker:
    return Worker(sys.executable, "benchmarks.ours", [what, str(folder)], _OURS_ENVIRONMENT)


def _twin(what: str, folder: Path, *settings: str) -> Worker:
    arguments = [what, str(folder), *settings]
    environment = _TWIN_ENVIRONMENT.get(what, {})
    return Worker(_TORCH_PYTHON.value, "benchmarks.torch_twin", arguments, environment)


def _torch_devices(folder: Path) -> list[str]:
    """What PyTorch can compute on.

    Raises:
      UserError: there is none.
    """
    try:
        with _twin("about", folder, "cpu") as twin:
            return twin.ask()["devices"]
    except (OSError, WorkerFailed) as error:
        raise UserError(
            f"{error} If there is no PyTorch: pip install '.[benchmark]', name an interpreter that"
            f" has it with --torch_python, or measure ours alone with --no_twin."
        ) from None


def _agree(folder: Path, device: str) -> dict[str, Any]:
    """Compares both networks on one batch.

    Raises:
      UserError: they disagree.
    """
    with _ours("check", folder) as ours:
        ours.ask()
    with _twin("check", folder, device) as twin:
        found = twin.ask()
    errors = found["errors"]
    # Written so that an error that is no number is too large.
    if found["unknown"] or not all(error <= TOLERANCES[name] for name, error in errors.items()):
        raise UserError(
            f"The twin is not our network, so it is not timed: errors {errors}, of which"
            f" {TOLERANCES} are allowed; parameters that one alone has: {found['unknown']}."
        )
    print("both agree: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    return {"errors": errors, "tolerances": TOLERANCES}


def _choose(folder: Path, device: str) -> dict[str, Any]:
    """PyTorch's settings, the fastest first.

    Raises:
      UserError: none works.
    """
    with _twin("choose", folder, device) as twin:
        found = twin.ask()
    print(f"PyTorch {found['torch']}, milliseconds per {found['unit']} by its settings:")
    for row in found["tried"]:
        told = ", ".join(f"{name}={value!r}" for name, value in row["settings"].items())
        shown = f"{row['milliseconds']:10.2f}" if "milliseconds" in row else f"{'fails':>10}"
        print(f"{shown}  {told}  {row.get('error', '')}")
    if "milliseconds" not in found["tried"][0]:
        raise UserError("PyTorch can train with none of these settings.")
    return {"version": found["torch"], "unit": found["unit"], "tried": found["tried"]}


def _row(
    folder: Path,
    config: Config,
    composite: Composite,
    count: int,
    settings: list[str] | None,
    cost: int,
    peak: float,
) -> dict[str, Any]:
    """Trains one row's work in turns."""
    folds = make_folds(config.protocol, composite)
    recipe = default_config(config.model).recipe

    def samples(of: Sequence[Fold], epochs: int, steps: int) -> int:
        if steps:
            return len(config.seeds) * len(of) * epochs * steps * config.recipe.batch_size
        return len(config.seeds) * epochs * sum(len(fold.train) for fold in of)

    trained = samples(folds[:count], config.recipe.num_epochs, config.recipe.steps_per_epoch)
    whole = samples(folds, recipe.num_epochs, recipe.steps_per_epoch)
    units = (
        len(config.seeds) * count * config.recipe.num_epochs * (config.recipe.steps_per_epoch or 1)
    )
    starts = {"ours": functools.partial(_ours, "train", folder)}
    if settings:
        starts["twin"] = functools.partial(_twin, "train", folder, *settings)
    workers: dict[str, Worker] = {}
    first: dict[str, float] = {}
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in starts}
    with ExitStack() as stack:
        for side, start in starts.items():
            begin = time.perf_counter()
            workers[side] = stack.enter_context(start())
            workers[side].ask()
            first[side] = time.perf_counter() - begin
        for _ in range(_ROUNDS.value):
            for side, worker in workers.items():
                rounds[side].append(worker.ask())
    row: dict[str, Any] = {
        "folds": count,
        "clips": len(composite.labels),
        "samples": trained,
        "whole": {
            "folds": len(folds),
            "epochs": recipe.num_epochs,
            "steps_per_epoch": recipe.steps_per_epoch,
            "samples": whole,
        },
        "ours": None,
        "twin": None,
        "ratio": None,
    }
    for side, answers in rounds.items():
        seconds = [answer["seconds"] for answer in answers]
        median = statistics.median(seconds)
        start_up = max(0.0, first[side] - median)
        row[side] = {
            "seconds": seconds,
            "median_seconds": median,
            "samples_per_second": trained / median,
            "flops_per_second": trained * cost / median,
            "fraction_of_peak": trained * cost / median / peak,
            f"milliseconds_per_fold_{_unit(config)}": 1000 * median / units,
            "peak_memory_bytes": answers[-1]["peak_memory_bytes"],
            "start_up_seconds": start_up,
            "whole_seconds_extrapolated": whole * median / trained + start_up,
            "loss": answers[-1]["loss"],
        }
    if settings:
        both = zip(rounds["ours"], rounds["twin"], strict=True)
        ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in both]
        row["ratio"] = {
            "median": statistics.median(ratios),
            "min": min(ratios),
            "max": max(ratios),
        }
    return row


def _print_row(row: dict[str, Any], unit: str) -> None:
    whole = row["whole"]
    length = f"{whole['epochs']:,} epochs"
    if whole["steps_per_epoch"]:
        length = f"{whole['epochs'] * whole['steps_per_epoch']:,} steps"
    for side in ("ours", "twin"):
        if found := row[side]:
            print(
                f"{row['folds']:5} {row['clips']:6} {side} {found['samples_per_second']:10,.2f}"
                f" {found['fraction_of_peak']:8.1%} {found['median_seconds']:8.3f}"
                f" {found[f'milliseconds_per_fold_{unit}']:13,.2f}"
                f" {found['peak_memory_bytes'] / 2**20:7,.0f} {found['start_up_seconds']:8.1f}s "
                f" {found['whole_seconds_extrapolated'] / 3600:.3g} h"
                f" ({whole['folds']} folds of {length})"
            )
    if row["ratio"]:
        print("      ours is {median:.3g}x as fast ({min:.3g} to {max:.3g})".format(**row["ratio"]))
    sys.stdout.flush()


if __name__ == "__main__":
    app.run(main)
