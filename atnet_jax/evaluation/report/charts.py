"""Charts of the page: learning curves, confidence intervals, leaderboards and inflated scores.

Each chart is a list of SVG elements; the style sheet sets their style. Marks differ in shape and
have numbers beside them, so no information depends on colour alone.
"""

import functools
import html
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from atnet_jax.evaluation.report.blocks import Chart, fit
from atnet_jax.evaluation.runs import Curve
from atnet_jax.words import numbered

# Size of a chart in units of the drawing.
_WIDTH, _HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 44
# Most points per line, which are all that this width can resolve, and per chart, to limit the size
# of the page.
_POINTS, _ALL_POINTS = 200, 8000
# Longer names do not fit into the chart; the table beside it has the full name.
_NAME = 34


class Standing(NamedTuple):
    """A line of a chart of methods; unknown values are None, and `inflated` is NOT a result."""

    name: str
    value: float
    interval: tuple[float, float] | None
    published: float | None
    inflated: float | None = None


class Spread(NamedTuple):
    """A line of a chart of spreads: the scores of runs, an interval, and both in words."""

    name: str
    values: Sequence[float]
    interval: tuple[float, float] | None
    text: str


class Bars(NamedTuple):
    """The bars of a method: its score, and two inflated scores that are NOT results."""

    name: str
    honest: float
    picked_once: float
    picked_by_fold: float


def line_chart(
    name: str, curves: Sequence[Curve], values: Sequence[Sequence[float]], top: float | None
) -> Chart | None:
    """Draw a value per epoch: a thin line for each fold and a bold line for their mean.

    Args:
        name: Title of the chart.
        curves: Learning curve of each fold.
        values: Values of each fold, one for each epoch of its curve.
        top: Upper end of the axis; None for the largest value.

    Returns:
        The chart; None if no value is finite.
    """
    lines: list[list[tuple[float, float]]] = []
    by_epoch: defaultdict[float, list[float]] = defaultdict(list)
    for curve, series in zip(curves, values, strict=True):
        points = zip(curve.epoch, series, strict=True)
        lines.append([(float(x), float(y)) for x, y in points if math.isfinite(y)])
        for x, y in lines[-1]:
            by_epoch[x].append(y)
    if not by_epoch:
        return None
    mean = [(x, math.fsum(ys) / len(ys)) for x, ys in sorted(by_epoch.items())]
    first, last = mean[0][0], max(mean[-1][0], mean[0][0] + 1)
    highest = top or max(y for line in lines for _, y in line) or 1.0
    y_ticks = _ticks(0.0, highest)
    if y_ticks[-1] < highest:
        y_ticks.append(2 * y_ticks[-1] - y_ticks[-2])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        up = y / y_ticks[-1] * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    def path(points: Sequence[tuple[float, float]], most: int) -> str:
        step = max(1, math.ceil(len(points) / most))
        kept = [*points[:-1:step], points[-1]]
        return " ".join("{:g},{:g}".format(*place(x, y)) for x, y in kept)

    drawing = []
    bottom = _HEIGHT - _BOTTOM
    for tick in y_ticks:
        _, y = place(first, tick)
        drawing.append(
            f'<line class="gridline" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        )
        drawing.append(f'<text x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(first, last, whole=True):
        x, _ = place(tick, 0.0)
        drawing.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        drawing.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    drawing.append(
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        "epoch</text>"
    )
    # Many overlapping lines must stay lighter than their mean.
    opacity = max(0.25, min(0.8, 4 / len(lines)))
    most = max(2, min(_POINTS, _ALL_POINTS // len(lines)))
    for curve, line in zip(curves, lines, strict=True):
        if line:
            drawing.append(
                f'<polyline class="fold" opacity="{opacity:.2f}" points="{path(line, most)}">'
                f"<title>{_text(curve.name)}</title></polyline>"
            )
    x, y = place(*mean[-1])
    drawing.append(f'<polyline class="mean" points="{path(mean, _POINTS)}"/>')
    drawing.append(f'<circle class="end" cx="{x}" cy="{y}" r="3"/>')
    description = (
        f"{numbered(len(lines), 'fold')} by epoch. The mean over the folds changes from"
        f" {mean[0][1]:.3f} in epoch {mean[0][0]:g} to {mean[-1][1]:.3f} in epoch {mean[-1][0]:g}."
    )
    return Chart(name, description, _WIDTH, _HEIGHT, "".join(drawing))


# Margin, height of a line and height of the axis in charts with one line per method.
_SIDE, _LINE, _AXIS = 8, 46, 26


def intervals_chart(name: str, lines: Sequence[Standing]) -> Chart:
    """Draw each method's score as a dot on its interval and the published score as a diamond.

    Args:
        name: Title of the chart.
        lines: The methods, from top to bottom.

    Returns:
        The chart.
    """
    height = _LINE * len(lines) + _AXIS
    marks, words = _standings(lines, [_LINE * i + 30 for i in range(len(lines))], 14, _across)
    return Chart(name, words, _WIDTH, height, _scale(height, range(0, 11, 2), _across) + marks)


# Height of a line of a leaderboard, which can have many.
_BOARD_LINE = 34


def board_chart(name: str, lines: Sequence[Standing]) -> Chart:
    """Draw the scores of a leaderboard and shade the overlap of neighbouring intervals.

    Args:
        name: Title of the chart.
        lines: The methods, from the first place to the last.

    Returns:
        The chart.
    """
    height = _BOARD_LINE * len(lines) + _AXIS
    values = [line.value for line in lines]
    for line in lines:
        claims = (line.published, line.inflated)
        values += [*(line.interval or ()), *(claim for claim in claims if claim is not None)]
    scale, across = _occupied_scale(height, values)
    drawing = [scale]
    middles = [_BOARD_LINE * i + 25 for i in range(len(lines))]
    for line, next_line, y in zip(lines, lines[1:], middles, strict=False):
        if line.interval is not None and next_line.interval is not None:
            low = max(line.interval[0], next_line.interval[0])
            high = min(line.interval[1], next_line.interval[1])
            if low <= high:
                width = round(across(high) - across(low), 1)
                drawing.append(
                    f'<rect class="overlap" x="{across(low)}" y="{y}" width="{width}"'
                    f' height="{_BOARD_LINE}"/>'
                )
    marks, words = _standings(lines, middles, 11, across)
    return Chart(name, words, _WIDTH, height, "".join(drawing) + marks)


def spread_chart(name: str, lines: Sequence[Spread]) -> Chart:
    """Draw each run as a dot, and intervals as whiskers.

    Args:
        name: Title of the chart.
        lines: The lines, from top to bottom.

    Returns:
        The chart.
    """
    height = _BOARD_LINE * len(lines) + _AXIS
    values = [value for line in lines for value in (*line.values, *(line.interval or ()))]
    scale, across = _occupied_scale(height, values)
    drawing, words = [scale], []
    for i, line in enumerate(lines):
        y = _BOARD_LINE * i + 25
        drawing += [
            f'<circle class="run" cx="{across(value)}" cy="{y}" r="4"/>' for value in line.values
        ]
        if line.interval is not None:
            low, high = map(across, line.interval)
            drawing.append(f'<path class="whisker" d="M{low} {y - 4}v8m0 -4H{high}m0 -4v8"/>')
        drawing.append(_named(line.name, line.text, y - 11))
        words.append(f"{fit(line.name)} {line.text}")
    return Chart(name, f"{'; '.join(words)}.", _WIDTH, height, "".join(drawing))


def _occupied_scale(height: int, values: Sequence[float]) -> tuple[str, Callable[[float], float]]:
    """Return a scale of the occupied tenths only, and the x coordinate of a score on it.

    Scores near 0 or 1 are rare.
    """
    first = math.floor(10 * min(values) + 1e-9)
    last = max(math.ceil(10 * max(values) - 1e-9), first + 1)

    def across(value: float) -> float:
        share = (10 * value - first) / (last - first)
        return round(_SIDE + share * (_WIDTH - 2 * _SIDE), 1)

    return _scale(height, range(first, last + 1), across), across


def _standings(
    lines: Sequence[Standing], middles: Sequence[int], above: int, across: Callable[[float], float]
) -> tuple[str, str]:
    """Return the marks of methods at these heights with names above them, and a description."""
    drawing, words = [], []
    for line, y in zip(lines, middles, strict=True):
        text, more = f"{line.value:.3f}", ""
        if line.interval is not None:
            low, high = line.interval
            text += f" [{low:.2f}, {high:.2f}]"
            drawing.append(
                f'<path class="whisker" d="M{across(low)} {y - 4}v8m0 -4H{across(high)}m0 -4v8"/>'
            )
        if line.published is not None:
            more += f", published {line.published:.3f}"
            x = across(line.published)
            drawing.append(f'<path class="published" d="M{x} {y - 6}l6 6l-6 6l-6 -6z"/>')
        if line.inflated is not None:
            more += f", not a result {line.inflated:.3f}"
            x = across(line.inflated)
            drawing.append(f'<path class="claimed" d="M{x - 4} {y - 4}l8 8m0 -8l-8 8"/>')
        drawing.append(f'<circle class="end" cx="{across(line.value)}" cy="{y}" r="4"/>')
        drawing.append(_named(line.name, text, y - above))
        words.append(f"{fit(line.name)} {text}{more}")
    return "".join(drawing), f"{'; '.join(words)}."


def inflation_chart(name: str, methods: Sequence[Bars]) -> Chart:
    """Draw each method's score as a filled bar and its inflated scores as dashed outlines.

    Args:
        name: Title of the chart.
        methods: The methods, from top to bottom.

    Returns:
        The chart.
    """
    step, thick, left = 92, 16, 132
    height = step * len(methods) + _AXIS
    drawing = [_scale(height, range(0, 11, 2), functools.partial(_across, left=left))]
    words = []
    for i, bars in enumerate(methods):
        top = step * i + 18
        drawing.append(_named(bars.name, "", top - 4))
        for j, (kind, label, value) in enumerate(
            (
                ("honest", "result", bars.honest),
                ("inflated", "not a result (a)", bars.picked_once),
                ("inflated", "not a result (b)", bars.picked_by_fold),
            )
        ):
            y, end = top + 4 + j * (thick + 5), _across(value, left)
            # The number is behind the bar, or inside it if there is no space behind it.
            inside = value > 0.8
            x, anchor = (end - 5, "end") if inside else (end + 5, "start")
            drawing.append(
                f'<text x="{_SIDE}" y="{y + thick - 3}">{label}</text>'
                f'<rect class="{kind}" x="{left}" y="{y}" width="{round(end - left, 1)}"'
                f' height="{thick}"/><text class="{f"in-{kind}" if inside else "figure"}"'
                f' x="{round(x, 1)}" y="{y + thick - 3}" text-anchor="{anchor}">{value:.3f}</text>'
            )
        words.append(
            f"{fit(bars.name)}: result {bars.honest:.3f}; not results: (a) {bars.picked_once:.3f},"
            f" (b) {bars.picked_by_fold:.3f}"
        )
    return Chart(name, f"{'. '.join(words)}.", _WIDTH, height, "".join(drawing))


def _across(value: float, left: int = _SIDE) -> float:
    """Return the x coordinate of a score from 0 to 1."""
    return round(left + value * (_WIDTH - _SIDE - left), 1)


def _scale(height: int, tenths: Sequence[int], across: Callable[[float], float]) -> str:
    """Draw vertical lines at these tenths with their numbers at the bottom."""
    bottom = height - _AXIS
    anchors = {tenths[0]: "start", tenths[-1]: "end"}
    return "".join(
        f'<line class="gridline" x1="{x}" x2="{x}" y1="0" y2="{bottom + 4}"/>'
        f'<text x="{x}" y="{bottom + 18}" text-anchor="{anchors.get(tenth, "middle")}">'
        f"{tenth / 10:g}</text>"
        for tenth, x in ((tenth, across(tenth / 10)) for tenth in tenths)
    )


def _named(name: str, text: str, y: int) -> str:
    """Draw a method's name at the left and its scores at the right."""
    short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
    figures = (
        f'<text class="figure" x="{_WIDTH - _SIDE}" y="{y}" text-anchor="end">{text}</text>'
        if text
        else ""
    )
    return f'<text class="name" x="{_SIDE}" y="{y}">{_text(short)}</text>{figures}'


def _text(value: str) -> str:
    return html.escape(fit(value))


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Return about five round values from `low` to `high`."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    start = math.ceil(low / step - 1e-9)
    stop = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(start, stop + 1)]
