"""Predicts the expression in clips of your own.

A clip is a video file, or a folder of pictures whose names end in their frames' numbers. For each
clip one line of JSON is printed; --out also writes a picture and a page, with maps of what the
networks look at.
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

if TYPE_CHECKING:
    from atnet_jax.inference.predict import Answer, Options


def add_arguments(parser: Parser) -> None:
    """Defines the options."""
    add = parser.option
    add(
        "run",
        type=path,
        metavar="RUN",
        help="Workdir of a run of the configuration final, or of all folds, whose scores are"
        " averaged.",
    )
    add("clips", type=path, nargs="+", metavar="CLIP", help="Video file, or folder of frames.")
    add("--out", type=path, metavar="FOLDER", help="New folder for pages and pictures.")
    add("--onset", type=int, metavar="N", help="Frame at which the expression begins; from 0.")
    add("--apex", type=int, metavar="N", help="Frame of its strongest moment.")
    add("--offset", type=int, metavar="N", help="Frame at which it ends.")
    add(
        "--face",
        choices=DETECTORS,
        help="Face detector; none: frames are cropped already (default: as in training).",
    )
    add("--box", type=_box, metavar="X0,Y0,X1,Y1", help="The face in pixels; no detector runs.")
    add(
        "--spotting",
        choices=SPOTTERS,
        default=SPOTTERS[0],
        help="How expressions and apexes are found.",
    )
    add("--frame_rate", type=float, metavar="N", help="Frames per second, if the file is wrong.")
    add(
        "--abstain_below",
        type=float,
        default=0.5,
        metavar="P",
        help="Name no class if no score is as high.",
    )


def run(given: Namespace) -> int:
    """Answers the clips; 1 if one of them has no answer."""
    from atnet_jax.inference.predict import predict_clip
    from atnet_jax.system.files import refuse_existing
    from atnet_jax.system.memory import keep_freed_memory
    from atnet_jax.training import trained

    keep_freed_memory()
    options = _options(given)
    if given.out is not None:
        refuse_existing(given.out)
    networks = trained.load_networks(given.run)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, clip in zip(_names(given.clips), given.clips, strict=True):
        try:
            found = predict_clip(clip, networks, options, _tell)
        except UserError as error:
            _tell("")
            print(f"Error: {error}", file=sys.stderr)
            failed += 1
            continue
        _tell("")
        print(json.dumps(found.to_json(), ensure_ascii=False), flush=True)
        if given.out is not None:
            _write(found, given.out, name)
    if failed and len(given.clips) > 1:
        print(f"{failed} of {len(given.clips)} clips have no answer.", file=sys.stderr)
    return 1 if failed else 0


def _options(given: Namespace) -> "Options":
    from atnet_jax.inference.predict import Options

    clips = len(given.clips)
    named = [name for name in ("onset", "apex", "offset", "box") if vars(given)[name] is not None]
    if clips > 1 and named:
        raise UserError(f"--{named[0]} is of one clip, but {clips} are given; run them one by one")
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


def _write(found: "Answer", out: Path, name: str) -> None:
    from atnet_jax.inference.predict import draw, page
    from atnet_jax.system.files import write_bytes_atomically, write_text_atomically

    text = json.dumps(found.to_json(), indent=2, ensure_ascii=False)
    write_text_atomically(out / f"{name}.json", f"{text}\n")
    write_bytes_atomically(out / f"{name}.png", draw.sheet(found))
    write_text_atomically(out / f"{name}.html", page.page(found))
    print(f"Page: {(out / name).absolute()}.html", file=sys.stderr)


def _tell(stage: str) -> None:
    """Shows the stage on a terminal, in one line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{stage}", end="", file=sys.stderr, flush=True)
