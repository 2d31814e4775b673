"""Page of a result: one HTML file that works offline and without scripts."""

from pathlib import Path
from typing import Any

from atnet_jax.evaluation.report import templates
from atnet_jax.inference.predict import draw
from atnet_jax.inference.predict.answers import NOT_FOR, Answer
from atnet_jax.names import CLASSES
from atnet_jax.words import numbered

_HERE = Path(__file__).parent
_TEMPLATES = templates.load(_HERE)
_TEMPLATES.filters |= {
    "data_uri": draw.data_uri,
    "figures": draw.figures,
    "numbered": numbered,
    "watched_face": draw.watched_face,
}
_WIDTH, _HEIGHT = 900, 170  # Size of the drawing of the strength of motion.

STYLE = (_HERE / "answer.css").read_text(encoding="utf-8")
"""Style of a result, in addition to the style of all pages."""


def page(answer: Answer) -> str:
    """Return the complete HTML page, which contains its style and pictures.

    Args:
        answer: The result to show.
    """
    return _render("page.html.jinja", answer)


def body(answer: Answer) -> str:
    """Return the content of the page as HTML, to be embedded in a page with the same style.

    Args:
        answer: The result to show.
    """
    return _render("answer.html.jinja", answer)


def _render(template: str, answer: Answer) -> str:
    return _TEMPLATES.get_template(template).render(
        answer=answer,
        name=Path(answer.clip).name or answer.clip,
        classes=CLASSES,
        drawing=_course(answer),
        not_for=NOT_FOR,
    )


def _course(answer: Answer) -> dict[str, Any]:
    """Return the coordinates of the drawing of the strength of motion, or {} without a course."""
    course = answer.course
    if course is None:
        return {}
    strength = course.strength.tolist()
    top = max(*strength, course.threshold or 0.0, 1e-9)

    def across(frame: int) -> float:
        return round((frame - course.first) / max(len(strength) - 1, 1) * _WIDTH, 1)

    def down(value: float) -> float:
        return round(_HEIGHT - 2 - value / top * (_HEIGHT - 8), 1)

    intervals = [expression.interval for expression in answer.expressions]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "intervals": [
            (start, max(end - start, 1), apex)
            for start, apex, end in (
                map(across, (each.onset, each.apex, each.offset)) for each in intervals
            )
        ],
        "threshold": None if course.threshold is None else down(course.threshold),
        "points": " ".join(
            f"{across(course.first + k):g},{down(value):g}" for k, value in enumerate(strength)
        ),
        "found": "; ".join(
            f"frames {each.onset} to {each.offset}, apex {each.apex}" for each in intervals
        )
        or "nothing",
    }
