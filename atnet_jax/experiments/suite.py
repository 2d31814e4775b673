"""Several methods under one protocol, as in the paper's tables, or all of them under both."""

import contextlib
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
from atnet_jax.evaluation.report.standings import FAILED
from atnet_jax.experiments import run as experiment
from atnet_jax.experiments.workdir import lock
from atnet_jax.system import files
from atnet_jax.training import processes


def all_methods() -> tuple[str, ...]:
    """Every method, by its presets' names where it has some."""
    presets = models.presets()
    return tuple(
        setting
        for name in models.names()
        for setting in [own for own, (method, _) in presets.items() if method == name] or [name]
    )


def run(config: Config, workdir: str | os.PathLike[str]) -> Path | None:
    """Runs every method with every seed and returns the path of the report on all.

    Each has a workdir of its own, `workdir/METHOD/seed_N`: a method that is through is not run
    again, and one that was interrupted goes on where it was. Methods without randomness (features
    and an SVM) are run with the first seed alone.

    Raises:
      UserError: see `experiment.train_and_evaluate`.
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
    """Runs every method under every protocol and returns the path of the leaderboard.

    As `run`, each in `workdir/PROTOCOL/METHOD/seed_N`, but a method that fails costs the others
    nothing: why it failed is kept in `workdir/PROTOCOL/METHOD/failed.txt`, and it is run again the
    next time. The page is of everything that is finished in the workdir. Where several processes
    take part, the first failure ends all of them, as the others would wait for one that is gone.

    Raises:
      UserError: a setting or the workdir cannot be used; or, when all else is done, a method
        failed: the message says which and why.
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


def _run_method(config: Config, protocol: str, method: str, folder: Path) -> list[Path]:
    """Runs one method with every seed that it needs, and returns their folders."""
    settings = check(method_config(config, protocol, method))
    folders = {seed: folder / f"seed_{seed}" for seed in settings.seeds}
    experiment.run_seeds(settings, folders)
    return list(folders.values())


def _attempt(config: Config, protocol: str, method: str, folder: Path) -> str | None:
    """Runs one method; why it failed, or None."""
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
        # Whatever is wrong with one method must not stop the others.
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    print(f"Error: {reason}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text_atomically(note, f"{reason}\n")
    return reason


def _failures(failed: Mapping[tuple[str, str], str], parts: int, page: Path | None) -> str:
    """What failed and why, methods with the same reason together."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for (protocol, method), reason in failed.items():
        alike[reason].append(f"{protocol} {method}")
    lines = [f"  {', '.join(names)}: {reason}" for reason, names in alike.items()]
    done = f" The others are in {page.absolute()}." if page else ""
    return "\n".join(
        [
            f"{len(failed)} of {parts} did not run to their end.{done}",
            *lines,
            "Mend that and start the same command again: what is through is not run again.",
        ]
    )
