"""Preparation of a user's copy of a database: `atnet prepare --dataset=casme2 …`.

Raw clips of micro-expressions become records with the apex frame, the ADM matrix and the flow map.
They are written to a TFDS folder that training reads: `<data_dir>/<dataset>/<flow>/1.2.0`. The
options --circular, --cancel_alternation and --remove_head_motion append _circular, _steady and
_stabilised to the flow's name. Sets of macro-expressions become records of one picture each, for
pre-training, in `<data_dir>/<dataset>/1.0.0`.
"""

import importlib
import importlib.util
import io
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from atnet_jax.data.record import explained
from atnet_jax.errors import UserError
from atnet_jax.names import (
    CLASSES,
    DATASETS,
    DEFAULT_FLOW,
    DETECTORS,
    FLOWS,
    MACRO_EXPRESSIONS,
    MICRO_EXPRESSIONS,
)
from atnet_jax.preprocessing.motion import OPTIONS, Motion
from atnet_jax.published import COMPOSITE, DATABASES
from atnet_jax.system import locks
from atnet_jax.words import numbered


def prepare(
    dataset: str,
    manual_dir: str | Path,
    data_dir: str | Path,
    face: str = "mtcnn",
    boxes: str | Path | None = None,
    leave_out: Sequence[str] = (),
    flow: str | None = None,
    circular: bool = False,
    cancel_alternation: bool = False,
    remove_head_motion: bool = False,
    num_workers: int | None = None,
    beam_runner: str | None = None,
    beam_options: Sequence[str] = (),
) -> Path:
    """Prepare a database and print a summary of the result.

    The data are published only if every clip succeeds. Existing data made with the same options
    from the same clips are left unchanged. Finished clips are stored in the folder `partial` beside
    the future data, so an interrupted preparation resumes with the remaining clips.

    Args:
        dataset: One of `DATASETS`.
        manual_dir: The copy of the database. The README of `data_builders/<dataset>` describes its
            layout.
        data_dir: Output folder. It can hold any number of databases.
        face: The face detector, or 'none' for frames that are already cropped.
        boxes: CSV file of face boxes (dataset, subject, clip, x0, y0, x1, y1), which replace the
            detector's boxes.
        leave_out: Clips to leave out, as SUBJECT/CLIP or, where a manifest has several data sets,
            as DATASET/SUBJECT/CLIP.
        flow: The optical flow method, by default `DEFAULT_FLOW`. Only for micro-expressions.
        circular: Whether the ADM's mean directions are circular means instead of the paper's
            arithmetic means. Only for micro-expressions.
        cancel_alternation: Whether to remove the displacement of odd frames against even ones
            where it is detected (SMIC). Only for micro-expressions.
        remove_head_motion: Whether to remove the shift, rotation and scaling of the whole face.
            Only for micro-expressions.
        num_workers: Number of processes, by default one for each CPU.
        beam_runner: The Apache Beam runner to use, such as `DirectRunner` or `FlinkRunner`, for
            collections too large for one machine. All machines must be able to access the folders.
        beam_options: Options of the runner, such as `direct_num_workers=2`.

    Returns:
        The folder of the prepared data.

    Raises:
        UserError: An argument, the copy of the database or a clip cannot be used, or `data_dir`
            holds data prepared with other options. One message lists the errors of all clips.
    """
    _check_choice("dataset", dataset, DATASETS)
    _check_choice("face", face, DETECTORS)
    if flow is not None:
        _check_choice("flow", flow, FLOWS)
    motion = Motion(flow or DEFAULT_FLOW, circular, cancel_alternation, remove_head_motion)
    chosen = [*(["flow"] if flow else []), *(key for key in OPTIONS if motion.options[key])]
    if dataset in MACRO_EXPRESSIONS and chosen:
        raise UserError(
            f"{dataset} is a set of pictures, for which motion is not computed. "
            f"Remove --{chosen[0]}."
        )
    if num_workers is not None and num_workers < 1:
        raise UserError(f"num_workers is {num_workers}, expected at least 1.")
    _check_beam(beam_runner, beam_options, num_workers)
    manual_dir, data_dir = Path(manual_dir).expanduser(), Path(data_dir).expanduser()
    if not manual_dir.is_dir():
        raise UserError(
            f"The folder {manual_dir} does not exist. Pass the folder of your copy of the database "
            f"as --manual_dir. data_builders/{dataset}/README.md describes its layout."
        )
    boxes = None if boxes is None else Path(boxes).expanduser()
    if boxes is not None and not boxes.is_file():
        raise UserError(
            f"The file {boxes} does not exist. Pass an existing CSV file of face boxes as --boxes."
        )
    config = None
    if dataset in MICRO_EXPRESSIONS:
        config = motion.name
    parent = data_dir / dataset / (config or "")

    import tensorflow_datasets as tfds

    module = importlib.import_module(f"data_builders.{dataset}.{dataset}_dataset_builder")
    with locks.hold(parent, ".lock", "--data_dir"):
        with explained(parent):  # The builder reads what describes data that are prepared already.
            builder = module.Builder(
                data_dir=str(data_dir),
                config=config,
                manual_dir=manual_dir,
                face=face,
                boxes=boxes,
                leave_out=leave_out,
                num_workers=num_workers,
                beam=beam_runner is not None,
            )
        path = Path(builder.data_dir)
        for warning in builder.source.warnings:
            print(f"Warning: {warning}", file=sys.stderr)
        if path.is_dir():
            # A run killed after publishing the data leaves these records behind.
            builder.kept.remove()
            _check_options(path, builder.info.metadata.get("options", {}), builder.options())
            print(f"{path} is already prepared with the same options.")
        else:
            # A killed run leaves such folders behind. TFDS uses a new name in every run.
            for remains in parent.glob("incomplete.*"):
                shutil.rmtree(remains)
            if builder.found:
                clips = numbered(len(builder.jobs), "clip")
                print(f"Resuming: {len(builder.found)} of {clips} are finished.")
            # The builders download nothing, so TFDS's messages and folder for downloads are hidden.
            # The folder has a name that the next run removes if this one is killed.
            tfds.disable_progress_bar()
            with (
                redirect_stdout(io.StringIO()),
                tempfile.TemporaryDirectory(prefix="incomplete.", dir=parent) as downloads,
            ):
                builder.download_and_prepare(
                    download_dir=downloads,
                    download_config=tfds.download.DownloadConfig(
                        try_download_gcs=False,
                        beam_runner=beam_runner,  # pyright: ignore[reportArgumentType]
                        beam_options=_pipeline_options(beam_options) if beam_runner else None,
                    ),
                    file_format="array_record",
                )
            print(builder.timing())
        print(summary(path, builder.info.metadata))
    return path


def summary(path: Path, metadata: Mapping[str, Any]) -> str:
    """Return a summary of the prepared data.

    The summary lists the clips by class, the excluded clips with their reasons, a comparison with
    the paper's composite, and the notes.

    Args:
        path: The folder of the prepared data.
        metadata: The content of its metadata.json.
    """
    sequences = metadata.get("sequences")
    unit = "clip" if sequences is None else "picture"
    lines = []
    for dataset, counts in metadata["counts"].items():
        total = sum(counts.values())
        lines.append(
            f"{dataset}: {numbered(total, unit)} ({_by_class(counts)}) "
            f"of {numbered(metadata['subjects'][dataset], 'subject')}"
        )
        if sequences is not None and sequences[dataset] != counts:
            unit = "sequence"
            counts = sequences[dataset]
            lines.append(f"  from {numbered(sum(counts.values()), unit)} ({_by_class(counts)})")
        if dataset not in DATABASES:
            continue
        expected = COMPOSITE[dataset]._asdict()
        counts = metadata["comparable"].get(dataset, dict.fromkeys(CLASSES, 0))
        total = sum(counts.values())
        foreign = [key for key in metadata["foreign"] if key.startswith(f"{dataset}/")]
        if foreign:
            lines.append(
                f"  not compared: {numbered(len(foreign), 'clip')} of subjects that "
                f"{DATABASES[dataset]} does not have, such as {foreign[0]}"
            )
        if all(counts[name] == expected[name] for name in CLASSES):
            lines.append(
                f"  matches the paper's composite: {total} of {total} clips, in every class"
            )
        else:
            shares = (f"{name} {counts[name]} of {expected[name]}" for name in CLASSES)
            lines.append(
                f"  differs from the paper's composite: {total} of {expected['clips']} clips"
                f" ({', '.join(shares)})"
            )
    reasons: dict[str, list[str]] = {}
    for row in metadata["excluded"]:
        reasons.setdefault(row["reason"], []).append(f"{row['subject']}/{row['clip']}")
    if reasons:
        lines.append(f"excluded: {numbered(len(metadata['excluded']), unit)}")
        for reason, clips in sorted(reasons.items()):
            named = f" ({', '.join(clips)})" if len(clips) <= 3 else ""
            lines.append(f"  {len(clips)}: {reason}{named}")
    lines += metadata["notes"]
    lines.append(f"prepared data: {path}")
    return "\n".join(lines)


def _by_class(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in CLASSES)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}, expected one of {', '.join(choices)}.")


def _check_beam(runner: str | None, options: Sequence[str], num_workers: int | None) -> None:
    if runner is None:
        if options:
            raise UserError(
                "--beam_options requires --beam_runner. Pass both, or remove --beam_options."
            )
        return
    if num_workers is not None:
        raise UserError(
            "--num_workers does not apply to Apache Beam. With --beam_runner=DirectRunner, pass "
            "--beam_options=direct_num_workers=N,direct_running_mode=multi_processing instead."
        )
    if importlib.util.find_spec("apache_beam") is None:
        raise UserError(
            "--beam_runner requires Apache Beam, which is not installed. "
            "Run pip install 'atnet_jax[beam]'."
        )


def _pipeline_options(options: Sequence[str]) -> Any:
    from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
        PipelineOptions,
    )

    return PipelineOptions([f"--{option}" for option in options])


def _check_options(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = []
    for name, value in wanted.items():
        # Older data lack options that were added later. These options were not used.
        if found.get(name, False) == value:
            continue
        if name == "source":
            different.append(
                "the clips in --manual_dir have changed since the preparation, or --leave_out has"
            )
        elif name == "boxes":
            different.append("--boxes is a different file")
        else:
            different.append(f"--{name} was {found.get(name)} and is now {value}")
    if different:
        raise UserError(
            f"{path} holds data prepared with different options: {'; '.join(different)}. "
            f"Pass another --data_dir, or delete this folder."
        )
