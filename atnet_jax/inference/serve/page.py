"""The page on which a clip is given; it works without script too."""

import html
from pathlib import Path
from typing import Any

from atnet_jax.evaluation.report.blocks import fit
from atnet_jax.evaluation.report.style import STYLE
from atnet_jax.inference.serve.form import FRAMES
from atnet_jax.inference.serve.upload import PICTURES, VIDEOS
from atnet_jax.names import DETECTORS

_HERE = Path(__file__).parent

_DETECTOR_NAMES = {
    "": "As in the training data",
    "mtcnn": "Find the face (MTCNN)",
    "none": "None: the clip is cropped to the face already",
}
_CAUTION = (
    "<strong>What this is not.</strong> The networks read how a face moves, as people labelled it"
    " in laboratory recordings. They do not read thoughts, feelings or intentions, they are no lie"
    " detector, and they are often wrong. Do not use them to judge people. Use only clips of people"
    " who have agreed to it."
)


def style(about: dict[str, Any]) -> str:
    """The style sheet: that of the reports, what a form needs besides, and that of the answers."""
    return STYLE + (_HERE / "app.css").read_text() + about["style"]


def index(about: dict[str, Any], max_bytes: int, max_seconds: float, *, local: bool) -> str:
    """The page with the form.

    Args:
        about: the networks: "networks" (a sentence), "notes" (a list of sentences) and "style".
        max_bytes: of an upload.
        max_seconds: that a clip may take.
        local: whether the server can be reached from its own computer alone.
    """
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in about["notes"])
    way = (
        "The clip goes to the program on this computer that shows this page, and nowhere else."
        if local
        else "The clip goes to another computer than yours perhaps, and unencrypted: others on the"
        " network may see it."
    )
    detectors = "".join(
        f'<option value="{name}">{_DETECTOR_NAMES[name]}</option>' for name in ("", *DETECTORS)
    )
    frames = "".join(
        f'<div><label for="{name}">{name.capitalize()}</label>'
        f'<input id="{name}" name="{name}" inputmode="numeric" pattern="[0-9]{{1,9}}"'
        ' autocomplete="off" placeholder="found by itself" aria-describedby="frames-hint"></div>'
        for name in FRAMES
    )
    return _page(
        "Read a clip",
        f"""<header><p class="kicker">ATNet in JAX</p><h1>Read a clip</h1>
<p>Give a clip of one face, and see what the trained networks make of its motion: negative, positive
or surprise.</p>
<p class="note">{_CAUTION}</p></header>
<noscript><p class="quiet">Without JavaScript the answer takes the place of this page; please wait
for it.</p></noscript>
<form id="form" method="post" action="/predict" enctype="multipart/form-data"
 data-max-bytes="{max_bytes}">
<div id="drop" class="drop">
<label for="clip">Drop a clip here, or choose one</label>
<input id="clip" name="clip" type="file" multiple required accept="{",".join(VIDEOS + PICTURES)}"
 aria-describedby="clip-hint">
<p id="clip-hint" class="quiet">One video (such as .mp4 or .avi), or all pictures of one clip,
numbered as img12.jpg; up to {max_bytes / 1e6:g} MB, and {max_seconds:g} s to read it.</p>
<p id="chosen" aria-live="polite" hidden></p>
</div>
<details><summary><h2>Settings</h2></summary>
<fieldset><legend>Frames, if you know them</legend>
<div class="fields">{frames}</div>
<p id="frames-hint" class="quiet">Numbers of frames: those of a video are counted from 0, pictures
have theirs in their names. What is left empty is found in the clip.</p></fieldset>
<div class="fields">
<div><label for="frame_rate">Frames per second</label>
<input id="frame_rate" name="frame_rate" inputmode="decimal" autocomplete="off"
 placeholder="as the file says" aria-describedby="rate-hint">
<p id="rate-hint" class="quiet">A high-speed recording often says 25 or 30 where it was filmed at
200.</p></div>
<div class="wide"><label for="face">Face</label><select id="face" name="face">{detectors}</select>
</div></div>
</details>
<p class="check"><input id="explain" name="explain" type="checkbox" value="on">
<label for="explain">Explain: show which parts of the face the scores rest on (takes longer)</label>
</p>
<p class="actions"><button id="read" type="submit">Read the clip</button>
<button id="stop" type="button" hidden>Stop</button></p>
<p class="quiet">{way} It is deleted when it has been answered, and the answer is kept on this page
only.</p>
</form>
<section id="progress" aria-labelledby="progress-heading" hidden>
<h2 id="progress-heading">Progress</h2><ol id="stages" aria-live="polite"></ol>
<p class="quiet" id="clock"></p></section>
<p id="error" class="note error" role="alert" tabindex="-1" hidden></p>
<section id="result" aria-labelledby="result-heading" hidden>
<h2 id="result-heading" tabindex="-1">Answer</h2><div id="answer"></div></section>
<footer><p class="quiet">{_text(about["networks"])}</p>{notes}</footer>
""",
        script='<script src="/app.js" defer></script>\n',
    )


def error_page(sentence: str) -> str:
    """A page that says why there is no answer."""
    return _page(
        "No answer",
        f'<header><p class="kicker">ATNet in JAX</p><h1>No answer</h1></header>\n'
        f'<p class="note error" role="alert">{_text(sentence)}</p>\n'
        '<p><a href="/">Back to the form</a></p>\n',
    )


def _page(title: str, content: str, script: str = "") -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(title)} · ATNet in JAX</title>\n"
        '<link rel="icon" href="data:,">\n<link rel="stylesheet" href="/style.css">\n'
        f'{script}</head>\n<body>\n<a class="skip" href="#content">Skip to the contents</a>\n'
        f'<main id="content">\n{content}</main>\n</body>\n</html>\n'
    )


def _text(value: str) -> str:
    return html.escape(fit(value))
