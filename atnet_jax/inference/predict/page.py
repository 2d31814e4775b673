"""An answer as a page: one file that needs no network and no script."""

import html
from collections.abc import Iterable, Sequence

from atnet_jax.evaluation.report.blocks import fit, numbered
from atnet_jax.evaluation.report.style import STYLE
from atnet_jax.inference.predict import draw
from atnet_jax.inference.predict.answers import NOT_FOR, Answer, Expression
from atnet_jax.inference.predict.caveats import Caveat
from atnet_jax.inference.predict.intervals import Course, Interval
from atnet_jax.names import CLASSES

ANSWER_STYLE = """
.scores { width: 100%; max-width: 34rem; }
.scores rect.whole { fill: var(--rule); }
.scores rect.score { fill: var(--accent); }
.scores text { fill: var(--text); font-size: 13px; }
figure.course { max-width: none; }
.course svg { height: 9rem; }
.course .ends { display: flex; justify-content: space-between; max-width: none; }
.course .found { fill: var(--accent); opacity: .2; }
.course .apex { stroke: var(--note-rule); stroke-width: 2; vector-effect: non-scaling-stroke; }
.course .strength {
  fill: none; stroke: var(--text); stroke-width: 1.5; vector-effect: non-scaling-stroke;
}
.course .threshold { stroke: var(--quiet); stroke-dasharray: 5 4; }
.pictures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); gap: 1rem;
}
.pictures figure { margin: 0; }
.pictures figure.wide { grid-column: 1 / -1; max-width: none; }
.pictures img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
.pictures figcaption { font-weight: 400; font-size: .875rem; color: var(--quiet); }
.said { font-size: 1.5rem; font-weight: 600; margin-bottom: .25rem; }
"""

# A picture that is wider takes a line of its own.
_WIDE = {"adm"}
_WIDTH, _HEIGHT = 900, 170


def page(answer: Answer) -> str:
    """The whole page, its style and pictures inside it."""
    title = _text(answer.clip)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}{ANSWER_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="kicker">atnet_jax</p>\n<h1>{title}</h1>\n{body(answer)}\n</main>\n</body>\n'
        "</html>\n"
    )


def body(answer: Answer) -> str:
    """What the page says, to stand within another page that has its style."""
    parts = [
        f"<p>{numbered(answer.frames, 'frame')} at {answer.frame_rate:g} per second,"
        f" {numbered(len(answer.expressions), 'expression')}"
        f" {'given' if answer.course is None else 'found'}.</p>",
        _warnings(answer.warnings),
    ]
    if answer.course is not None:
        intervals = [expression.interval for expression in answer.expressions]
        parts.append(_course(answer.course, intervals, answer.frame_rate))
    parts += [
        _expression(expression, number, answer.frame_rate)
        for number, expression in enumerate(answer.expressions, start=1)
    ]
    parts += [f'<p class="note">{_text(NOT_FOR)}</p>', _details(answer)]
    return "\n".join(part for part in parts if part)


def _expression(expression: Expression, number: int, frame_rate: float) -> str:
    interval = expression.interval
    best = expression.likeliest
    said = CLASSES[best] if expression.predicted is not None else "No answer"
    why = (
        ""
        if expression.predicted is not None
        else f" The highest score, of {CLASSES[best]}, is too low."
    )
    lasts = (interval.offset - interval.onset + 1) / frame_rate
    spotted = f" ({', '.join(interval.spotted)} found by the program)" if interval.spotted else ""
    networks = sum(expression.votes)
    votes = (
        f" Of {networks} networks, {expression.votes[best]} say {CLASSES[best]}."
        if networks > 1
        else ""
    )
    return (
        f'<section aria-label="Expression {number}"><h2>Frames {interval.onset} to'
        f" {interval.offset}</h2>"
        f'<p class="said">{said}</p>'
        f"<p>Onset {interval.onset}, apex {interval.apex}, offset {interval.offset}, {lasts:.2f}"
        f" s{spotted}.{why}{votes}</p>"
        f"{_scores(expression)}{_warnings(expression.warnings)}{_shares(expression)}"
        f"{_pictures(expression)}</section>"
    )


def _scores(expression: Expression) -> str:
    lines = []
    for k, (name, score) in enumerate(zip(CLASSES, expression.scores.tolist(), strict=True)):
        top = 34 * k
        lines.append(
            f'<text x="0" y="{top + 19}">{name}</text>'
            f'<rect class="whole" x="80" y="{top + 4}" width="330" height="20"/>'
            f'<rect class="score" x="80" y="{top + 4}" width="{330 * score:.1f}" height="20"/>'
            f'<text x="420" y="{top + 19}">{score:.3f}</text>'
        )
    words = ", ".join(
        f"{name} {score:.3f}" for name, score in zip(CLASSES, expression.scores, strict=True)
    )
    return (
        f'<svg class="scores" viewBox="0 0 470 102" role="img" aria-label="Scores: {words}">'
        f"{''.join(lines)}</svg>"
    )


def _shares(expression: Expression) -> str:
    explanation = expression.explanation
    if explanation is None or not explanation.shares or not explanation.contributions:
        return ""
    streams = " and ".join(
        f"the {name} stream for {share:.0%} ({explanation.contributions[name]:+.2f} logits)"
        for name, share in explanation.shares.items()
    )
    return f"<p>In the decision, {streams}.</p>"


def _pictures(expression: Expression) -> str:
    shown = []
    for name, (caption, png) in draw.figures(expression).items():
        kind = ' class="wide"' if name in _WIDE else ""
        shown.append(
            f'<figure{kind}><img src="{draw.data_uri(png)}" alt="{_text(caption)}">'
            f"<figcaption>{_text(caption)}</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(shown)}</div>'


def _course(course: Course, intervals: Sequence[Interval], frame_rate: float) -> str:
    strength = course.strength.tolist()
    top = max(*strength, course.threshold or 0.0, 1e-9)

    def across(frame: int) -> float:
        return round((frame - course.first) / max(len(strength) - 1, 1) * _WIDTH, 1)

    def down(value: float) -> float:
        return round(_HEIGHT - 2 - value / top * (_HEIGHT - 8), 1)

    drawing = []
    for interval in intervals:
        left, right = across(interval.onset), across(interval.offset)
        drawing.append(
            f'<rect class="found" x="{left}" y="0" width="{max(right - left, 1):.1f}"'
            f' height="{_HEIGHT}"/>'
            f'<line class="apex" x1="{across(interval.apex)}" x2="{across(interval.apex)}" y1="0"'
            f' y2="{_HEIGHT}"/>'
        )
    if course.threshold is not None:
        y = down(course.threshold)
        drawing.append(f'<line class="threshold" x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
    points = " ".join(
        f"{across(course.first + k):g},{down(value):g}" for k, value in enumerate(strength)
    )
    drawing.append(f'<polyline class="strength" points="{points}"/>')
    last = course.first + len(strength) - 1
    found = "; ".join(
        f"frames {each.onset} to {each.offset}, apex {each.apex}" for each in intervals
    )
    return (
        '<figure class="course"><figcaption>Strength of motion over the clip</figcaption>'
        # Stretched to the page's width, whatever that is; so it holds no letters.
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img"'
        ' aria-label="Found:'
        f' {found or "nothing"}">{"".join(drawing)}</svg>'
        f'<p class="quiet ends"><span>frame {course.first}</span><span>frame {last},'
        f" {len(strength) / frame_rate:.1f} s</span></p></figure>"
    )


def _warnings(found: Iterable[Caveat]) -> str:
    return "".join(f'<p class="note">{_text(each.text)}</p>' for each in found)


def _details(answer: Answer) -> str:
    model = answer.model
    took = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in answer.seconds.items())
    return (
        "<details><summary><h3>Which networks, and how long it took</h3></summary>"
        f"<p>{_text(str(model['method']))}, {numbered(int(model['networks']), 'network')} trained"
        f" on {_text(', '.join(model['trained_on']))} with the flow {_text(str(model['flow']))};"
        f" digest {_text(str(model['digest'])[:16])}.</p><p>{took}.</p></details>"
    )


def _text(value: str) -> str:
    return html.escape(fit(value))
