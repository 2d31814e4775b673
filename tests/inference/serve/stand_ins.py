"""Stand-ins for the trained networks; the first word of a clip selects their behaviour."""

import os
import resource
import signal
import time
from pathlib import Path

from atnet_jax.errors import UserError

STYLE = ".of-the-answer { color: teal }"
BODY = '<h3>Stand-in</h3><p id="said">surprise</p>'
PAGE = "<!DOCTYPE html><html lang=en><style>p { color: teal }</style><p>surprise</p></html>"


def prepare(argument):
    """Gets ready; `argument` is the file that lists the processes, or what goes wrong."""
    if argument == "no run":
        raise UserError("no run: no finished run in this folder")
    if argument == "bug":
        raise RuntimeError("a bug while loading")
    if argument == "crash":
        os._exit(1)
    with Path(argument).open("a") as file:
        file.write(f"{os.getpid()}\n")
    about = {"networks": "Two <stand-ins>.", "notes": ["A note & a half."], "style": STYLE}
    return about, answer


def answer(path, options, form, progress):
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    progress("Reading the clip")
    word = files[0].read_bytes().split(b"\n")[0]
    if word in DEEDS:
        return DEEDS[word](path)
    for frame in range(3):
        progress(f"Reading the clip {frame}/3")
    progress("Scoring it")
    if form == "json":
        return {
            "files": {file.name: file.read_bytes().decode("latin-1") for file in files},
            "folder": str(path.parent),
            "mode": oct(path.parent.stat().st_mode)[-3:],
            "options": options,
        }
    return PAGE if form == "page" else BODY


def _user_error(path):
    raise UserError(f"{path}: no face <here>; choose another clip")


def _bug(path):
    raise RuntimeError(f"a bug at {path}")


def _limits(path):
    del path
    return {
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "killed first": Path("/proc/self/oom_score_adj").read_text().strip(),
    }


def _playlist(path):
    """Return whether another video beside the clip can be read through the clip."""
    import cv2
    import numpy as np

    from atnet_jax.preprocessing.frames import open_video

    other = str(path.with_name("other.avi"))
    writer = cv2.VideoWriter(other, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for _ in range(3):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()

    def readable(file):
        try:
            with open_video(file) as video:
                return video.grab()
        except UserError:
            return False

    return {"clip": readable(path), "other": readable(Path(other))}


def _picture(path):
    from atnet_jax.preprocessing.frames import read_image

    return [read_image(file).shape for file in path.iterdir()]


DEEDS = {
    b"sleep": lambda _: time.sleep(60),
    b"slow": lambda _: time.sleep(0.5),
    b"crash": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    b"user error": _user_error,
    b"bug": _bug,
    b"nan": lambda _: float("nan"),
    b"limits": _limits,
    b"ffconcat version 1.0": _playlist,
    b"\x89PNG\r": _picture,
}
