"""Collections of runs: the paper's tables, the leaderboard and the reproducibility study."""

import contextlib
import copy
import os
import sys
import traceback
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import jax

from atnet_jax import models
from atnet_jax.config import Config, check, method_config
from atnet_jax.errors import UserError
from atnet_jax.evaluation import report
from atnet_jax.evaluation.record import FILE
from atnet_jax.evaluation.report.reproducibility import ALL
from atnet_jax.evaluation.report.standings import FAILED
from atnet_jax.experiments import run as experiment
from atnet_jax.experiments.workdir import lock
from atnet_jax.system import files
from atnet_jax.training import processes
from atnet_jax.training.sources import acting


def all_methods() -> tuple[str, ...]:
    """Return the names of all methods; a method with presets is listed by their names."""
    presets = models.presets()
    return tuple(
        setting
        for name in models.names()
        for setting in [own for own, (method, _) in presets.items() if method == name] or [name]
    )


def run(config: Config, workdir: str | os.PathLike[str]) -> Path | None:
    """Train and evaluate several methods under one protocol.

    Each run has the folder `workdir/METHOD/seed_N`. The same call skips completed runs and resumes
    interrupted ones. Methods without randomness (features and an SVM) run with the first seed only.

    Args:
        config: The configuration of the task "table".
        workdir: A new folder, or the folder of the same runs to resume.

    Returns:
        The path of the report on all runs; None in all processes but the first.

    Raises:
        UserError: See `experiment.train_and_evaluate`.
    """
    config, workdir = check(config), Path(workdir)
    for method in config.methods:
        check(method_config(config, config.protocol, method))
    folders = []
    with lock(workdir):
        for number, method in enumerate(config.methods, start=1):
            print(f"\n[{number} of {len(config.methods)}] {method}")
            folders += _run_method(config, config.protocol, method, workdir / method)
        if not processes.is_first():
            return None
        path = workdir / "report.html"
        report.write(folders, path)
    return path


def run_leaderboard(config: Config, workdir: str | os.PathLike[str]) -> Path | None:
    """Train and evaluate several methods under several protocols.

    Each run has the folder `workdir/PROTOCOL/METHOD/seed_N`. As in `run`, the same call skips
    completed runs and resumes interrupted ones. If a method fails, the others still run. The error
    is written to `workdir/PROTOCOL/METHOD/failed.txt`, and the next call retries the method. The
    leaderboard covers all finished runs in the workdir. With several processes, the first failure
    ends all processes, because the others would wait for the failed one.

    Args:
        config: The configuration of the task "leaderboard".
        workdir: A new folder, or the folder of an earlier leaderboard.

    Returns:
        The path of the leaderboard; None without finished runs and in all processes but the first.

    Raises:
        UserError: A setting or the workdir is invalid, or, after all other runs, methods failed.
            The message names them and the reasons.
    """
    config, workdir = check(config), Path(workdir)
    if (workdir / FILE).exists():
        raise UserError(f"{workdir} holds a run. Choose another --workdir for the leaderboard.")
    parts = [(protocol, method) for protocol in config.protocols for method in config.methods]
    failed: dict[tuple[str, str], str] = {}
    with lock(workdir):
        for number, (protocol, method) in enumerate(parts, start=1):
            print(f"\n[{number} of {len(parts)}] {protocol} {method}")
            reason = _attempt(config, protocol, method, workdir / protocol / method)
            if reason is not None:
                failed[protocol, method] = reason
        if not processes.is_first():
            return None
        path = report.write_leaderboard(workdir)
    if failed:
        raise UserError(_failures(failed, len(parts), path))
    return path


def run_study(config: Config, workdir: str | os.PathLike[str]) -> Path | None:
    """Train and evaluate one method with many seeds, varying each source of randomness alone.

    The sources in `config.varied` are varied together in `workdir/all/seed_N` and one at a time in
    `workdir/SOURCE/seed_N`. The run of the fixed seed is the same in all of them and is trained
    once, as one of `all`. Sources without effect on the training are left out. As in `run`, the
    same call skips completed runs and resumes interrupted ones; with more seeds, it adds their
    runs.

    Args:
        config: The configuration of the task "reproduce".
        workdir: A new folder, or the folder of the same study to resume or extend.

    Returns:
        The path of the report; None in all processes but the first.

    Raises:
        UserError: See `experiment.train_and_evaluate`.
    """
    config, workdir = check(config), Path(workdir)
    if (workdir / FILE).exists():
        raise UserError(f"{workdir} holds a run. Choose another --workdir for the study.")
    parts = study_parts(config)
    folders = {}
    with lock(workdir):
        for number, (name, settings) in enumerate(parts.items(), start=1):
            print(f"\n[{number} of {len(parts)}] varied: {name}")
            folders[name] = _run_seeds(settings, workdir / name)
        if not processes.is_first():
            return None
        path = workdir / "report.html"
        without_effect = [source for source in config.varied if source not in parts]
        report.write_reproducibility(folders, without_effect, path)
    return path


def study_parts(config: Config) -> dict[str, Config]:
    """Return the settings of each part of a study: all sources together, and one at a time.

    Args:
        config: The configuration of the task "reproduce".
    """
    others = tuple(seed for seed in config.seeds if seed != config.fixed_seed)
    changes = {source: {"varied": (source,), "seeds": others} for source in acting(config)}
    parts = {}
    for name, change in ({ALL: {}} | changes).items():
        settings = copy.deepcopy(config)
        settings.update({"task": "evaluate", **change})
        parts[name] = check(settings)
    return parts


def _run_method(config: Config, protocol: str, method: str, folder: Path) -> list[Path]:
    """Train and evaluate one method with every seed that it needs; return their folders."""
    return _run_seeds(check(method_config(config, protocol, method)), folder)


def _run_seeds(settings: Config, folder: Path) -> list[Path]:
    """Train and evaluate a method with the seeds of its settings; return their folders."""
    folders = {seed: folder / f"seed_{seed}" for seed in settings.seeds}
    experiment.run_seeds(settings, folders)
    if processes.is_first():
        experiment.write_card(folder, folders)
    return list(folders.values())


def _attempt(config: Config, protocol: str, method: str, folder: Path) -> str | None:
    """Train and evaluate one method; return the error message if it fails."""
    note = folder / FAILED
    if jax.process_count() > 1:
        _run_method(config, protocol, method, folder)
        return None
    with contextlib.suppress(FileNotFoundError):
        note.unlink()
    try:
        _run_method(config, protocol, method, folder)
        return None
    except UserError as error:
        reason = str(error)
    except Exception as error:
        # An error in one method must not stop the others.
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    print(f"Error: {reason}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text_atomically(note, f"{reason}\n")
    return reason


def _failures(failed: Mapping[tuple[str, str], str], parts: int, page: Path | None) -> str:
    """Return the message that lists failed methods, grouped by reason."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for (protocol, method), reason in failed.items():
        alike[reason].append(f"{protocol} {method}")
    lines = [f"  {', '.join(names)}: {reason}" for reason, names in alike.items()]
    done = f" {page.absolute()} shows the finished runs." if page else ""
    return "\n".join(
        [
            f"{len(failed)} of {parts} combinations of protocol and method failed.{done}",
            *lines,
            "Fix this and rerun the same command. It skips completed methods.",
        ]
    )
