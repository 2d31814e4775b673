"""Generation of synthetic databases in the layouts of the real ones."""

import functools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import tqdm

from atnet_jax.errors import UserError
from atnet_jax.system.files import refuse_existing
from atnet_jax.system.workers import map_in_order
from data_builders.synthetic.casme2 import Casme2
from data_builders.synthetic.ck_plus import CkPlus
from data_builders.synthetic.clip_spec import ClipSpec
from data_builders.synthetic.jaffe import Jaffe
from data_builders.synthetic.layout import Layout
from data_builders.synthetic.mug import Mug
from data_builders.synthetic.oulu_casia import OuluCasia
from data_builders.synthetic.samm import Samm
from data_builders.synthetic.scene import Scene
from data_builders.synthetic.smic import Smic

DATABASES: dict[str, Layout] = {
    layout.NAME: layout
    for layout in (Casme2(), Samm(), Smic(), CkPlus(), OuluCasia(), Jaffe(), Mug())
}
MICRO_EXPRESSION = ("casme2", "samm", "smic")
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]
ENCODING = {
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".bmp": [],
    ".png": [],
    ".tiff": [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_NONE],
}

README = """\
Synthetic {kind} made by `atnet synthetic`.
No person was filmed: the faces are painted and moved by facial action units.
The folders have the layouts of {layouts}, but contain no data of these databases.
Made with datasets={datasets}, subjects={subjects}, clips={clips}, seed={seed}.
"""


def clip_specs(dataset: str, subjects: int, clips: int, seed: int) -> list[ClipSpec]:
    """Return the clips that `generate` writes for one database.

    Args:
        dataset: A key of `DATABASES`.
        subjects: Number of subjects.
        clips: Number of clips of the three classes per subject.
        seed: The seed, at least 0.

    Returns:
        The clips in the order of the annotation file. A subject's clips do not depend on the number
        of subjects, and its first clips do not depend on the number of later ones. Clips with the
        label None belong to the database but not to the three classes (neutral, another emotion, no
        label, no usable apex). Each clip of Oulu-CASIA is listed twice, once per camera.

    Raises:
        UserError: The database is unknown, or a number is out of range. The names in a database
            limit the number of subjects and clips.
    """
    if dataset not in DATABASES:
        raise UserError(f"Unknown dataset {dataset!r}. Expected one of {', '.join(DATABASES)}.")
    database = DATABASES[dataset]
    if not 1 <= subjects <= len(database.SUBJECTS):
        raise UserError(
            f"subjects is {subjects}, expected 1 to {len(database.SUBJECTS)} for {dataset}."
        )
    if clips < 1:
        raise UserError(f"clips is {clips}, expected at least 1 per subject.")
    most = database.MOST_CLIPS
    if most is not None and clips > most:
        raise UserError(f"clips is {clips}, expected 1 to {most} per subject for {dataset}.")
    if seed < 0:
        raise UserError(f"seed is {seed}, expected at least 0.")
    return [spec for index in range(subjects) for spec in database.clips(index, clips, seed)]


def generate(
    out: str | os.PathLike[str],
    *,
    datasets: Sequence[str] = MICRO_EXPRESSION,
    subjects: int = 5,
    clips: int = 6,
    seed: int = 0,
    num_workers: int | None = None,
) -> list[ClipSpec]:
    """Write synthetic databases.

    Args:
        out: Output folder. It receives one folder for each database, which is the --manual_dir of
            the database's builder.
        datasets: The databases, keys of `DATABASES`.
        subjects: Number of subjects per database.
        clips: Number of clips of the three classes per subject.
        seed: The seed. The same seed gives the same pixels for any number of workers.
        num_workers: Number of processes, by default one for each CPU.

    Returns:
        The written clips. `Scene.true_flow` returns the motion of each.

    Raises:
        UserError: `out` is not empty, a database is unknown, or a number is out of range.
        OSError: The files cannot be written.
    """
    out = Path(out)
    refuse_existing(out)
    plan = {name: clip_specs(name, subjects, clips, seed) for name in dict.fromkeys(datasets)}
    specs = [spec for listed in plan.values() for spec in listed]
    # The databases are written beside `out` and then moved, so `out` is always complete.
    partial = out.parent / f".{out.name}.partial{os.getpid()}"
    try:
        _write_frames(partial, specs, num_workers)
        for name, listed in plan.items():
            DATABASES[name].write_annotation(partial / name, listed)
        readme = _readme(list(plan), subjects, clips, seed)
        (partial / "README.txt").write_text(readme, encoding="utf-8")
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        error.filename = str(out)  # The error of a full disk does not contain the path.
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return specs


def _readme(datasets: Sequence[str], subjects: int, clips: int, seed: int) -> str:
    *others, last = (DATABASES[name].TITLE for name in datasets)
    return README.format(
        kind="expressions" if set(datasets) - set(MICRO_EXPRESSION) else "micro-expression clips",
        layouts=f"{', '.join(others)} and {last}" if others else last,
        datasets=",".join(datasets),
        subjects=subjects,
        clips=clips,
        seed=seed,
    )


def _write_frames(folder: Path, specs: Sequence[ClipSpec], num_workers: int | None) -> None:
    # One process renders all clips of a subject, so it paints the portrait only once.
    subjects: dict[tuple[str, str], list[ClipSpec]] = {}
    for spec in specs:
        subjects.setdefault((spec.dataset, spec.subject), []).append(spec)
    listed = list(subjects.values())
    with tqdm.tqdm(total=len(specs), unit="clip", disable=None) as bar:
        for written in map_in_order(functools.partial(_write_clips, folder), listed, num_workers):
            bar.update(written)


def _write_clips(folder: Path, specs: Sequence[ClipSpec]) -> int:
    """Write the frames of the clips and return the number of clips."""
    for spec in specs:
        scene = Scene(spec)
        for frame in spec.frames:
            path = folder / spec.dataset / DATABASES[spec.dataset].frame_path(spec, frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            done, encoded = cv2.imencode(path.suffix, scene.frame(frame), ENCODING[path.suffix])
            if not done:
                raise OSError(f"OpenCV cannot encode {path}.")
            path.write_bytes(encoded.tobytes())
    return len(specs)
