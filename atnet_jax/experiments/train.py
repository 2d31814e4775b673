"""Training from a configuration: the task it names, in a workdir."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from atnet_jax.config import Config, check
from atnet_jax.errors import UserError
from atnet_jax.evaluation.runs import Run, load_runs
from atnet_jax.experiments import pretrain, suite
from atnet_jax.experiments import run as experiment
from atnet_jax.system import backend
from atnet_jax.training import processes

# The instructions of AVX2 on every CPU, and no estimates of 1/√x, which differ between makers.
_DETERMINISTIC = (
    "--xla_gpu_deterministic_ops=true",
    "--xla_cpu_max_isa=AVX2",
    "--xla_cpu_enable_platform_dependent_math=false",
)


def train(config: Config, workdir: str | os.PathLike[str]) -> tuple[Run, ...]:
    """Train and evaluate the methods of a configuration, like `atnet train`.

    All results are written to the workdir. If the call is interrupted, the same call resumes from
    the last checkpoints and produces byte-identical predictions.

    Args:
        config: The configuration, from `load_config`.
        workdir: A new folder, or the folder of the same run to resume.

    Returns:
        The finished runs, one for each seed and, in a table or leaderboard, each method, or in a
        reproducibility study, each varied source. Empty
        after the tasks "final" and "pretrain", which have no test clips, and in all processes of a
        distributed run but the first.

    Raises:
        UserError: The data are not prepared or do not fit the configuration, the workdir holds
            another run or is in use, or training diverged.
    """
    config, workdir = check(config), Path(workdir).expanduser()
    run_task(config, workdir)
    if config.task in ("final", "pretrain") or not processes.is_first():
        return ()
    return load_runs(workdir)


def run_task(config: Config, workdir: Path) -> Path | None:
    """Run the task of a configuration.

    Args:
        config: A checked configuration.
        workdir: A new folder, or the folder of the same run to resume.

    Returns:
        The path of the report; None if the task or this process writes none.

    Raises:
        UserError: See `train`.
    """
    make_deterministic(config)
    tasks: dict[str, Callable[[Config, Path], Path | None]] = {
        "evaluate": experiment.train_and_evaluate,
        "final": experiment.train_and_evaluate,
        "pretrain": pretrain.pretrain,
        "table": suite.run,
        "leaderboard": suite.run_leaderboard,
        "reproduce": suite.run_study,
    }
    report = tasks[config.task](config, workdir)
    return None if config.task == "pretrain" else report


def make_deterministic(config: Config) -> None:
    """Set XLA's flags for the same bits in repeated runs and, on CPUs, on other processors.

    JAX reads the flags when it first looks for devices, so call this function before. It does
    nothing unless `config.deterministic`.

    Args:
        config: Any configuration.

    Raises:
        UserError: JAX has started without the flags.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    missing = [flag for flag in _DETERMINISTIC if flag not in flags]
    if not config.get("deterministic") or not missing:
        return
    if backend.has_started():
        raise UserError(
            "config.deterministic is True, but JAX has started without the options that this"
            " requires. Start a new process, and train before anything else uses JAX, or set"
            f" XLA_FLAGS={shlex.quote(' '.join(_DETERMINISTIC))} before."
        )
    os.environ["XLA_FLAGS"] = " ".join([*flags, *missing])
