"""Reads clips of one's own: `atnet predict CLIP… --checkpoint=WORKDIR`.

A clip is a video file, or a folder of pictures whose names end in their frames' numbers. For each
clip one line of JSON is printed; --out also writes a picture and a page, with maps of what the
networks look at.
"""

import functools
import json
import re
import sys
from pathlib import Path

from absl import app, flags, logging

from atnet_jax.errors import UserError
from atnet_jax.inference import spotting
from atnet_jax.inference.predict import Answer, Options, answer, draw, page
from atnet_jax.preprocessing.face import DETECTORS, Box
from atnet_jax.system.files import write_bytes_atomically, write_text_atomically
from atnet_jax.system.memory import keep_freed_memory
from atnet_jax.training import trained


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    keep_freed_memory()
    run(arguments, flags.FLAGS)


def run(arguments: list[str], values: flags.FlagValues) -> None:
    """Answers the clips and ends the program if one has no answer.

    Args:
        arguments: The program's name, and the clips.
        values: What `define_flags` defines.
    """
    logging.set_verbosity(logging.WARNING)
    clips = [Path(argument).expanduser() for argument in arguments[1:]]
    if not clips:
        raise app.UsageError("Which clips? Give video files, or folders of frames.")
    try:
        options = _options(values, len(clips))
        networks = trained.load(Path(values.checkpoint))
        out = None if values.out is None else _new_folder(Path(values.out).expanduser())
    except UserError as error:
        sys.exit(f"Error: {error}")
    failed = 0
    for name, clip in zip(_names(clips), clips, strict=True):
        try:
            found = answer(clip, networks, options, _tell)
        except UserError as error:
            _tell("")
            print(f"Error: {error}", file=sys.stderr)
            failed += 1
            continue
        _tell("")
        print(json.dumps(found.to_json(), ensure_ascii=False), flush=True)
        if out is not None:
            _write(found, out, name)
    if failed:
        sys.exit(f"{failed} of {len(clips)} clips have no answer." if len(clips) > 1 else 1)


def _options(values: flags.FlagValues, clips: int) -> Options:
    own = {name: values[name].value for name in ("onset", "apex", "offset", "box")}
    if clips > 1 and (named := [name for name, value in own.items() if value is not None]):
        raise UserError(f"--{named[0]} is of one clip, but {clips} are given; run them one by one")
    return Options(
        onset=values.onset,
        apex=values.apex,
        offset=values.offset,
        face=values.face or "",
        box=None if values.box is None else _box(values.box),
        spotting=values.spotting or spotting.DEFAULT,
        frame_rate=values.frame_rate,
        abstain_below=values.abstain_below,
        explain=values.out is not None,
    )


def _box(text: str) -> Box:
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise UserError(f"--box is {text!r}, expected four numbers x0,y0,x1,y1") from None
    return x0, y0, x1, y1


def _new_folder(out: Path) -> Path:
    """Makes the folder before the work begins."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except OSError as error:
        raise UserError(f"{out} cannot be used ({error.strerror}); choose another --out") from None
    if taken:
        raise UserError(f"{out} is not empty; choose another --out")
    return out


def _names(clips: list[Path]) -> list[str]:
    """A name for each clip's files, all different."""
    names: list[str] = []
    for clip in clips:
        stem = re.sub(r"[^\w.-]", "_", clip.stem or "clip")[:100]
        name, number = stem, 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def _write(found: Answer, out: Path, name: str) -> None:
    text = json.dumps(found.to_json(), indent=2, ensure_ascii=False)
    try:
        write_text_atomically(out / f"{name}.json", f"{text}\n")
        write_bytes_atomically(out / f"{name}.png", draw.sheet(found))
        write_text_atomically(out / f"{name}.html", page.page(found))
    except OSError as error:
        sys.exit(f"Error: {out}: cannot be written to ({error.strerror})")
    print(f"Page: {(out / name).absolute()}.html", file=sys.stderr)


def _tell(stage: str) -> None:
    """Shows the stage on a terminal, in one line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{stage}", end="", file=sys.stderr, flush=True)


def define_flags(values: flags.FlagValues) -> None:
    """Defines the options."""
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    number = functools.partial(flags.DEFINE_integer, flag_values=values)
    decimal = functools.partial(flags.DEFINE_float, flag_values=values)
    choice = functools.partial(flags.DEFINE_enum, flag_values=values)
    text(
        "checkpoint",
        None,
        "Workdir of a run: of configs/final.py, or of all folds, whose scores are averaged.",
        required=True,
    )
    number("onset", None, "Frame at which the expression begins; from 0.")
    number("apex", None, "Frame of its strongest moment.")
    number("offset", None, "Frame at which it ends.")
    text("out", None, "New folder for a picture and a page of every clip.")
    choice("face", None, DETECTORS, "Face detector, or 'none' for frames that are cropped already.")
    text("box", None, "x0,y0,x1,y1 of the face in pixels, instead of a detector's.")
    choice("spotting", spotting.DEFAULT, spotting.METHODS, "How expressions and apexes are found.")
    decimal("frame_rate", None, "Frames per second, where the file is wrong.")
    decimal("abstain_below", 0.5, "Name no class where no score is as high.")


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    app.run(main)
