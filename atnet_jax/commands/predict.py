"""Predict the expression in your own clips.

A clip is a video file, or a folder of pictures whose names end in the frame number. The command
prints one line of JSON per clip. With --out it also writes a picture and a page for each clip, with
maps that explain the scores.
"""

import json
import re
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atnet_jax.commands.parser import Parser, path
from atnet_jax.errors import UserError
from atnet_jax.names import DETECTORS, SPOTTERS
from atnet_jax.words import numbered

if TYPE_CHECKING:
    from atnet_jax.inference.predict import Answer, Options


def add_arguments(parser: Parser) -> None:
    """Define the options of the command in `parser`."""
    add = parser.option
    add(
        "run",
        type=path,
        metavar="RUN",
        help="Workdir of a finished run of a network, such as --config=final. Scores are averaged"
        " over all folds.",
    )
    add("clips", type=path, nargs="+", metavar="CLIP", help="Video file or folder of frames.")
    add("--out", type=path, metavar="FOLDER", help="New folder for pages, pictures and JSON files.")
    add(
        "--onset", type=int, metavar="N", help="First frame of the expression; videos count from 0."
    )
    add("--apex", type=int, metavar="N", help="Strongest frame of the expression.")
    add("--offset", type=int, metavar="N", help="Last frame of the expression.")
    add(
        "--face",
        choices=DETECTORS,
        help="Face detector; none if the frames are already cropped (default: as in training).",
    )
    add(
        "--box",
        type=_box,
        metavar="X0,Y0,X1,Y1",
        help="Box of the face in pixels; replaces the detector.",
    )
    add(
        "--spotting",
        choices=SPOTTERS,
        default=SPOTTERS[0],
        help="Method that finds expressions and apexes.",
    )
    add(
        "--frame_rate",
        type=float,
        metavar="N",
        help="Frames per second; replaces the rate in the file.",
    )
    add(
        "--abstain_below",
        type=float,
        default=0.5,
        metavar="P",
        help="Predict no class if the highest score is lower.",
    )


def run(given: Namespace) -> int:
    """Predict all clips and return 1 if any failed, otherwise 0."""
    from atnet_jax.inference.predict import predict_clip
    from atnet_jax.system.files import refuse_existing
    from atnet_jax.system.memory import keep_freed_memory
    from atnet_jax.training import trained

    keep_freed_memory()
    options = _options(given)
    if given.out is not None:
        refuse_existing(given.out)
    names = _names(given.clips)
    absent = [error for clip in given.clips if (error := _absent(clip))]
    if len(absent) == len(names):  # Loading the networks takes seconds.
        for error in absent:
            print(f"Error: {error}", file=sys.stderr)
        return 1
    networks = trained.load_networks(given.run)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, clip in zip(names, given.clips, strict=True):
        try:
            found = predict_clip(clip, networks, options, _tell)
        except UserError as error:
            _tell("")
            print(f"Error: {error}", file=sys.stderr)
            failed += 1
            continue
        _tell("")
        if given.out is not None:  # Before printing, which fails if the output is closed or full.
            _write(found, given.out, name)
        print(json.dumps(found.to_json(), ensure_ascii=False), flush=True)
    if failed and len(given.clips) > 1:
        print(
            f"{failed} of {numbered(len(given.clips), 'clip')} have no prediction.", file=sys.stderr
        )
    return 1 if failed else 0


def _absent(clip: Path) -> str:
    """Return the error message if there is no clip of this name, otherwise ""."""
    from atnet_jax.inference.predict.footage import check_present

    try:
        check_present(clip)
    except UserError as error:
        return str(error)
    return ""


def _options(given: Namespace) -> "Options":
    from atnet_jax.inference.predict import Options

    clips = len(given.clips)
    named = [name for name in ("onset", "apex", "offset", "box") if vars(given)[name] is not None]
    if clips > 1 and named:
        raise UserError(
            f"--{named[0]} applies to a single clip, but {numbered(clips, 'clip')} were"
            f" passed. Run the command"
            " once per clip."
        )
    return Options(
        onset=given.onset,
        apex=given.apex,
        offset=given.offset,
        face=given.face or "",
        box=given.box,
        spotting=given.spotting,
        frame_rate=given.frame_rate,
        abstain_below=given.abstain_below,
        explain=given.out is not None,
    )


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not four numbers x0,y0,x1,y1") from None
    return x0, y0, x1, y1


def _names(clips: Sequence[Path]) -> list[str]:
    """Return a unique file name for each clip."""
    names: list[str] = []
    for clip in clips:
        stem = re.sub(r"[^\w.-]", "_", clip.stem or "clip")[:100]
        name, number = stem, 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def _write(found: "Answer", out: Path, name: str) -> None:
    from atnet_jax.inference.predict import draw, page
    from atnet_jax.system.files import write_bytes_atomically, write_text_atomically

    text = json.dumps(found.to_json(), indent=2, ensure_ascii=False)
    write_text_atomically(out / f"{name}.json", f"{text}\n")
    write_bytes_atomically(out / f"{name}.png", draw.sheet(found))
    write_text_atomically(out / f"{name}.html", page.page(found))
    print(f"Page: {(out / name).absolute()}.html", file=sys.stderr)


def _tell(stage: str) -> None:
    """Show the stage on one line of the terminal, if there is one."""
    if sys.stderr.isatty():
        print(f"\r\033[K{stage}", end="", file=sys.stderr, flush=True)
