"""Training speed of this engine and of a PyTorch twin that trains fold by fold.

    python -m benchmarks.engine --model=fusion --folds=4 --steps=20 --out=engine.json

trains the first folds of leave-one-subject-out on random clips, each for some steps, with both. It
prints samples per second, their share of the device's peak, memory, start-up time and the time of
the complete evaluation, extrapolated from the rate. See benchmarks/README.md.

Before any timing, both networks must agree on one batch (outputs and gradients). PyTorch then tries
its settings and keeps the fastest. Each side runs in a separate process. The processes train in
alternating rounds, so that other load on the machine affects both. The benchmark prints medians of
the rounds, and the smallest and largest ratio. A first round, which compiles, does not count: the
time from the start of a process to the end of this round, less the time of a later round, is the
start-up time. Neither side scores held-out clips or writes checkpoints.

    python -m benchmarks.engine --model=all --out=engine.json

measures all methods, one after the other, and prints a table of the ratios.
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

MODELS = tuple(flops.MODELS)
# Number of folds, and of steps or epochs, that take both sides about 10 to 30 seconds on two cores.
WORK = {
    "fusion": (1, 20),
    "spatial": (1, 20),
    "temporal": (4, 20),
    "ststnet": (68, 4),
    "rcn": (4, 1),
    "sssnet": (4, 4),
    "dual_inception": (4, 1),
    "off_apexnet": (4, 10),
    "htnet": (2, 1),
}
# Largest relative errors between the networks. Float32 rounds outputs by about 1e-6. A gradient can
# differ by 1 % if a value is within rounding error of the kink of a ReLU or a maximum.
TOLERANCES = {"logits": 1e-4, "rotation": 1e-4, "gradients": 2e-2}
FOLDS_GROWN = (1, 2, 4, 8, 16, 32, 68)
CLIPS_GROWN = (442, 1000, 2000, 5000, 10_000)

_MODEL = flags.DEFINE_multi_enum(
    "model", ["fusion"], ("all", *MODELS), "Method; repeat the flag for several, or pass all."
)
_FOLDS = flags.DEFINE_integer(
    "folds",
    None,
    "Number of folds to train (default: see WORK; all with --maps; up to 68 with --grow=folds).",
    lower_bound=1,
)
_CLIPS = flags.DEFINE_integer(
    "clips",
    None,
    "Number of random clips (default: 442; up to 10,000 with --grow=clips).",
    lower_bound=1,
)
_STEPS = flags.DEFINE_integer(
    "steps",
    None,
    "ATNet: optimiser steps per fold (default: see WORK), at most 50 or a multiple of 50.",
    lower_bound=1,
)
_EPOCHS = flags.DEFINE_integer(
    "epochs",
    None,
    "Other methods: epochs (default: see WORK); an epoch is one pass over a fold.",
    lower_bound=1,
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Height and width of apex frames, in pixels.", lower_bound=8
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Batch size (default: that of the method).")
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    list(PRECISIONS),
    "Precision of both sides; see config.recipe.precision.",
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Number of seeds; each trains every fold.", lower_bound=1)
_GROW = flags.DEFINE_enum("grow", None, ("folds", "clips"), "Quantity that grows from row to row.")
_MAPS = flags.DEFINE_string("maps", None, "STSTNet: .npz file of real flow maps instead of noise.")
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Number of measured rounds of each side.", lower_bound=3
)
_TORCH_PYTHON = flags.DEFINE_string(
    "torch_python", sys.executable, "Python interpreter with PyTorch."
)
_NO_TWIN = flags.DEFINE_bool("no_twin", False, "Measure only this engine.")
_OUT = flags.DEFINE_string("out", None, "Also write all figures to this JSON file.")

# Start-up must include compilation, and two processes must share the memory of one GPU.
_OURS_ENVIRONMENT = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
_TWIN_ENVIRONMENT = {"train": {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}}


def main(argv: Sequence[str]) -> None:
    """Run the benchmark, and print and write its figures."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}.")
    try:
        reports: list[dict[str, Any]] = []

        def save(report: dict[str, Any]) -> None:
            if _OUT.value:
                text = json.dumps([*reports, report], indent=2)
                Path(_OUT.value).write_text(text + "\n", encoding="utf-8")

        models = MODELS if "all" in _MODEL.value else dict.fromkeys(_MODEL.value)
        for work in [_work(model) for model in models]:
            reports.append(measure(work, not _NO_TWIN.value, save))
            print()
        if len(reports) > 1:
            _print_ratios(reports)
    except (UserError, WorkerFailed) as error:
        sys.exit(f"Error: {error}")


class Work(NamedTuple):
    """Work to measure.

    Attributes:
        config: Settings of the training.
        clips: Function that creates this number of clips, which may take much memory.
        rows: Number of clips and of folds in each row of the table.
    """

    config: Config
    clips: Callable[[int], Composite]
    rows: list[tuple[int, int]]


def _work(model: str) -> Work:
    """Return the work on a method that the flags select.

    Args:
        model: Name of the method.

    Returns:
        The work.

    Raises:
        UserError: The flags contradict each other.
    """
    config = default_config(model)
    config.recipe.precision = _PRECISION.value
    config.seeds = tuple(range(_SEEDS.value))
    config.data.image_size = _IMAGE_SIZE.value
    config.recipe.batch_size = _BATCH_SIZE.value or config.recipe.batch_size
    epoch = config.recipe.steps_per_epoch
    if epoch == 0:
        if _STEPS.value:
            raise UserError(f"Pass --epochs, not --steps, for --model={model}.")
        config.recipe.num_epochs = _EPOCHS.value or WORK[model][1]
    else:
        if _EPOCHS.value:
            raise UserError(f"Pass --steps, not --epochs, for --model={model}.")
        steps = _STEPS.value or WORK[model][1]
        config.recipe.steps_per_epoch = min(steps, epoch)
        config.recipe.num_epochs = max(1, steps // epoch)
        if config.recipe.num_epochs * config.recipe.steps_per_epoch != steps:
            raise UserError(
                f"--steps is {steps}, expected at most {epoch} or a multiple of {epoch}."
            )

    if _MAPS.value:
        if model != "ststnet" or _CLIPS.value or _GROW.value == "clips":
            raise UserError(
                "--maps requires --model=ststnet, and excludes --clips and --grow=clips: the file"
                " determines the number of clips."
            )
        composite = task.flow_maps(Path(_MAPS.value))
        sizes = [len(composite.labels)]
        return Work(config, lambda _: composite, _rows(sizes, config, composite))
    grow = _GROW.value == "clips"
    sizes = _grown(CLIPS_GROWN, _CLIPS.value) if grow else [_CLIPS.value or task.CLIPS]
    make = functools.partial(task.random_composite, model, image_size=config.data.image_size)
    return Work(config, make, _rows(sizes, config, make(sizes[0])))


def _rows(sizes: Sequence[int], config: Config, composite: Composite) -> list[tuple[int, int]]:
    """Return the number of clips and folds of each row.

    Returns:
        The rows.

    Raises:
        UserError: --folds is larger than the number of subjects.
    """
    available = len(make_folds(config.protocol, composite))
    if (_FOLDS.value or 0) > available:
        raise UserError(
            f"--folds is {_FOLDS.value}, expected at most {available}: the data have {available}"
            " subjects."
        )
    folds = [_FOLDS.value or (available if _MAPS.value else WORK[config.model][0])]
    if _GROW.value == "folds":
        folds = _grown([n for n in FOLDS_GROWN if n < available] + [available], _FOLDS.value)
    return [(clips, count) for clips in sizes for count in folds]


def _grown(sizes: Sequence[int], largest: int | None) -> list[int]:
    """Return the sizes below `largest`, and `largest`; all sizes if it is None."""
    return sorted({*(n for n in sizes if largest is None or n < largest), largest or sizes[-1]})


def measure(work: Work, twin: bool, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Measure and print each row.

    Args:
        work: The work to measure.
        twin: Also measure the PyTorch twin.
        save: Function that saves the figures; called after each row.

    Returns:
        The figures.

    Raises:
        UserError: The networks disagree, or PyTorch cannot be used.
        WorkerFailed: A worker process has failed.
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
        # On a CPU only float32 products are measured.
        peaks = device["matmul_flops_per_second"]
        peak = peaks.get(config.recipe.precision, peaks["float32"])
        print(
            f"{config.model}, batches of {config.recipe.batch_size}, {config.recipe.precision}:"
            f" {cost / 1e9:.4g} GFLOP per training sample\n"
            f"{device['kind']}, {os.cpu_count()} CPUs, JAX {device['jax']}:"
            f" {peak / 1e12:.4g} TFLOP/s in matrix products;"
            f" load average before the benchmark {load:.1f}"
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
                    f"JAX uses {device['backend']}, but PyTorch of {_TORCH_PYTHON.value} supports"
                    f" only {', '.join(torch_devices)}. Set JAX_PLATFORMS, select another"
                    f" --torch_python, or measure only this engine with --no_twin."
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
            save(report)
    return report


def _unit(config: Config) -> str:
    """Return the unit of training: "step", or "epoch" if an epoch is one pass."""
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
    """Return the devices that PyTorch supports.

    Returns:
        Names of devices, such as "cpu".

    Raises:
        UserError: The interpreter has no PyTorch.
    """
    try:
        with _twin("about", folder, "cpu") as twin:
            return twin.ask()["devices"]
    except (OSError, WorkerFailed) as error:
        raise UserError(
            f"{error} If PyTorch is missing, run pip install '.[benchmark]', select an interpreter"
            f" that has it with --torch_python, or measure only this engine with --no_twin."
        ) from None


def _agree(folder: Path, device: str) -> dict[str, Any]:
    """Compare both networks on one batch.

    Returns:
        The errors and their tolerances.

    Raises:
        UserError: The networks disagree.
    """
    with _ours("check", folder) as ours:
        ours.ask()
    with _twin("check", folder, device) as twin:
        found = twin.ask()
    errors = found["errors"]
    # Written so that a NaN counts as too large.
    if found["unknown"] or not all(error <= TOLERANCES[name] for name, error in errors.items()):
        raise UserError(
            f"The twin differs from this engine's network, so it is not timed. Errors: {errors},"
            f" allowed: {TOLERANCES}. Parameters of only one network: {found['unknown']}."
        )
    print(
        "both networks agree: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    )
    return {"errors": errors, "tolerances": TOLERANCES}


def _choose(folder: Path, device: str) -> dict[str, Any]:
    """Measure PyTorch with each of its settings.

    Returns:
        The settings and their times, fastest first.

    Raises:
        UserError: No settings work.
    """
    with _twin("choose", folder, device) as twin:
        found = twin.ask()
    print(f"PyTorch {found['torch']}, milliseconds per {found['unit']} for its settings:")
    for row in found["tried"]:
        told = ", ".join(f"{name}={value!r}" for name, value in row["settings"].items())
        shown = f"{row['milliseconds']:10.2f}" if "milliseconds" in row else f"{'fails':>10}"
        print(f"{shown}  {told}  {row.get('error', '')}")
    if "milliseconds" not in found["tried"][0]:
        raise UserError("PyTorch fails with all of these settings.")
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
    """Train the work of one row in alternating rounds, and return its figures."""
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
        print(
            "      this engine is {median:.3g}x as fast ({min:.3g} to {max:.3g})".format(
                **row["ratio"]
            )
        )
    sys.stdout.flush()


def _print_ratios(reports: Sequence[dict[str, Any]]) -> None:
    """Print one line for each method: median, smallest and largest ratio of the rounds."""
    print(f"{'method':<15} {'folds':>5} {'this engine':>12} {'PyTorch':>10} {'ratio':>7}")
    for report in reports:
        key = f"milliseconds_per_fold_{report['unit']}"
        for row in report["rows"]:
            line = f"{report['model']:<15} {row['folds']:5} {row['ours'][key]:12,.1f}"
            if row["ratio"]:
                shown = "{median:6.2f}x  ({min:.2f} to {max:.2f})".format(**row["ratio"])
                line += f" {row['twin'][key]:10,.1f} {shown}"
            print(f"{line}  ms per fold and {report['unit']}")


if __name__ == "__main__":
    app.run(main)
