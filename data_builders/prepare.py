"""Prepares a user's copy of a database: `atnet prepare --dataset=casme2 …`.

Raw clips of micro-expressions become records with the apex frame, the ADM matrix and the flow map,
in a TFDS folder that training reads: `<data_dir>/<dataset>/<flow>/1.2.0`; --circular,
--cancel_alternation and --remove_head_motion add _circular, _steady and _stabilised to the flow's
name. The sets of macro-expressions become records with one picture each, for pre-training, in
`<data_dir>/<dataset>/1.0.0`.
"""

import importlib
import importlib.util
import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

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


def prepare(
    dataset: str,
    manual_dir: str | Path,
    data_dir: str | Path,
    face: str = "mtcnn",
    boxes: str | Path | None = None,
    flow: str | None = None,
    circular: bool = False,
    cancel_alternation: bool = False,
    remove_head_motion: bool = False,
    num_workers: int | None = None,
    beam_runner: str | None = None,
    beam_options: Sequence[str] = (),
) -> Path:
    """Prepares a database, and prints what it made of it.

    Nothing is published unless every clip succeeds. Data prepared before with the same options from
    the same clips stay as they are. Until then, finished clips are kept in the folder `partial`
    beside the coming data, so that a run that was ended goes on from there.

    It starts processes ('spawn'), so a script must call it under `if __name__ == "__main__":`.

    Args:
        dataset: One of `DATASETS`.
        manual_dir: The copy of the database; the README of `data_builders/<dataset>` shows how it
            is laid out.
        data_dir: Where the prepared data go, any number of databases in one folder.
        face: The face detector, or 'none' for frames that are cropped already.
        boxes: CSV file of face boxes (dataset, subject, clip, x0, y0, x1, y1), which replace the
            detector's.
        flow: The optical flow method, `DEFAULT_FLOW` if none is given; of micro-expressions only.
        circular: Whether the ADM's mean directions are circular means; the paper's are arithmetic.
            Of micro-expressions only, as are the next two.
        cancel_alternation: Whether the displacement of odd frames against even ones is taken out
            where it is found (SMIC).
        remove_head_motion: Whether the shift, rotation and scaling of the whole face are taken out.
        num_workers: Number of processes; by default one for each CPU.
        beam_runner: The Apache Beam runner that does the work, such as `DirectRunner` or
            `FlinkRunner`, for collections beyond one machine; all machines must see the folders.
        beam_options: Options of the runner, such as `direct_num_workers=2`.

    Returns:
        The folder of the prepared data.

    Raises:
        UserError: An argument, the copy of the database or single clips cannot be used (all clips'
            errors are in one message), or there are data prepared with other options.
    """
    _check_choice("dataset", dataset, DATASETS)
    _check_choice("face", face, DETECTORS)
    if flow is not None:
        _check_choice("flow", flow, FLOWS)
    motion = Motion(flow or DEFAULT_FLOW, circular, cancel_alternation, remove_head_motion)
    chosen = [*(["flow"] if flow else []), *(key for key in OPTIONS if motion.options[key])]
    if dataset in MACRO_EXPRESSIONS and chosen:
        raise UserError(
            f"{dataset} is a set of pictures, of which no motion is computed: "
            f"leave --{chosen[0]} out"
        )
    if num_workers is not None and num_workers < 1:
        raise UserError(f"num_workers is {num_workers}, expected at least 1")
    _check_beam(beam_runner, beam_options, num_workers)
    manual_dir, data_dir = Path(manual_dir).expanduser(), Path(data_dir).expanduser()
    if not manual_dir.is_dir():
        raise UserError(
            f"{manual_dir}: no such folder; --manual_dir is your copy of the database "
            f"(see data_builders/{dataset}/README.md)"
        )
    boxes = None if boxes is None else Path(boxes).expanduser()
    if boxes is not None and not boxes.is_file():
        raise UserError(f"{boxes}: no such file of face boxes")
    config = None
    if dataset in MICRO_EXPRESSIONS:
        config = motion.name
    parent = data_dir / dataset / (config or "")

    import tensorflow_datasets as tfds

    module = importlib.import_module(f"data_builders.{dataset}.{dataset}_dataset_builder")
    with locks.hold(parent, ".lock", "--data_dir"):
        builder = module.Builder(
            data_dir=str(data_dir),
            config=config,
            manual_dir=manual_dir,
            face=face,
            boxes=boxes,
            num_workers=num_workers,
            beam=beam_runner is not None,
        )
        path = Path(builder.data_dir)
        if path.is_dir():
            # What a run leaves that is killed after the data are in place.
            builder.kept.remove()
            _check_options(path, builder.info.metadata.get("options", {}), builder.options())
            print(f"{path} is prepared already, with the same options.")
        else:
            # What a killed run left behind; TFDS names it so and gives it a new name every time.
            for remains in parent.glob("incomplete.*"):
                shutil.rmtree(remains)
            if builder.found:
                print(f"{len(builder.found)} of {len(builder.jobs)} clips are finished already")
            # TFDS speaks of downloads, which there are none of, and makes a folder for them.
            tfds.disable_progress_bar()
            with redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as downloads:
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
    """What was prepared, what was left out and why, and how that compares with the paper's data."""
    sequences = metadata.get("sequences")
    units = "clips" if sequences is None else "pictures"
    lines = []
    for dataset, counts in metadata["counts"].items():
        total = sum(counts.values())
        lines.append(
            f"{dataset}: {total} {units} ({_by_class(counts)}) "
            f"of {metadata['subjects'][dataset]} subjects"
        )
        if sequences is not None and sequences[dataset] != counts:
            units = "sequences"
            counts = sequences[dataset]
            lines.append(f"  from {sum(counts.values())} sequences ({_by_class(counts)})")
        if dataset not in DATABASES:
            continue
        expected = COMPOSITE[dataset]._asdict()
        if all(counts[name] == expected[name] for name in CLASSES):
            lines.append(f"  all {total} of {total} clips of the paper's composite, by class")
        else:
            shares = (f"{name} {counts[name]} of {expected[name]}" for name in CLASSES)
            lines.append(
                f"  {total} of {expected['clips']} clips of the paper's composite"
                f" ({', '.join(shares)})"
            )
    reasons: dict[str, list[str]] = {}
    for row in metadata["excluded"]:
        reasons.setdefault(row["reason"], []).append(f"{row['subject']}/{row['clip']}")
    if reasons:
        lines.append(f"left out by the label rule: {len(metadata['excluded'])} {units}")
        for reason, clips in sorted(reasons.items()):
            named = f": {', '.join(clips)}" if len(clips) <= 3 else ""
            lines.append(f"  {len(clips)}, {reason}{named}")
    lines += metadata["notes"]
    lines.append(f"prepared data: {path}")
    return "\n".join(lines)


def _by_class(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in CLASSES)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}, expected one of {', '.join(choices)}")


def _check_beam(runner: str | None, options: Sequence[str], num_workers: int | None) -> None:
    if runner is None:
        if options:
            raise UserError("--beam_options is of --beam_runner, which is not given")
        return
    if num_workers is not None:
        raise UserError(
            "--num_workers is of the work without Apache Beam; with --beam_runner=DirectRunner "
            "give --beam_options=direct_num_workers=N,direct_running_mode=multi_processing"
        )
    if importlib.util.find_spec("apache_beam") is None:
        raise UserError(
            "--beam_runner needs Apache Beam, which is not installed: pip install 'atnet_jax[beam]'"
        )


def _pipeline_options(options: Sequence[str]) -> Any:
    from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
        PipelineOptions,
    )

    return PipelineOptions([f"--{option}" for option in options])


def _check_options(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = []
    for name, value in wanted.items():
        # An option that older data do not know was not chosen.
        if found.get(name, False) == value:
            continue
        if name == "source":
            different.append("the clips in --manual_dir are not those they were prepared from")
        elif name == "boxes":
            different.append("--boxes is another file")
        else:
            different.append(f"--{name} was {found.get(name)}, now {value}")
    if different:
        raise UserError(
            f"{path} holds data prepared in another way: {'; '.join(different)}. "
            f"Choose another --data_dir, or delete that folder"
        )
