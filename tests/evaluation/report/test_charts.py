import re

import pytest

from atnet_jax.evaluation.report import charts
from atnet_jax.evaluation.runs import Curve
from tests.evaluation.report.workdirs import curve


def polylines(drawing, kind):
    found = re.findall(rf'<polyline class="{kind}"[^>]*points="([^"]*)"', drawing)
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in found]


def loss(*values):
    lists = ({k: tuple(v) if isinstance(v, list) else v for k, v in own.items()} for own in values)
    curves = [Curve(**own) for own in lists]
    return charts.line_chart("Loss", curves, [curve.loss for curve in curves], None)


def test_curves_draw_every_fold_and_their_mean():
    chart = loss(curve("a", 4, loss=1.0), curve("b", 4, loss=3.0))
    folds, means = polylines(chart.drawing, "fold"), polylines(chart.drawing, "mean")
    assert (len(folds), len(means)) == (2, 1)
    for first, second, mean in zip(folds[0], folds[1], means[0], strict=True):
        assert mean[0] == first[0] == second[0]
        assert mean[1] == pytest.approx((first[1] + second[1]) / 2, abs=0.11)
    assert means[0][0][1] < means[0][-1][1]  # the loss falls, and y grows downwards
    assert "The mean over the folds changes from 2.000 in epoch 1 to 0.500 in epoch 4." in (
        chart.description
    )


@pytest.mark.parametrize("epochs", [1, 2, 50, 800])
@pytest.mark.parametrize("height", [0.0, 1e-6, 0.7, 12345.0])
def test_curves_of_any_length_and_height_stay_inside_the_chart(epochs, height):
    chart = loss(curve("a", epochs, height))
    for kind in ("fold", "mean"):
        for line in polylines(chart.drawing, kind):
            assert 1 <= len(line) <= 202
            assert all(46 <= x <= 448 and 12 <= y <= 236 for x, y in line)
    assert "nan" not in chart.drawing


def test_many_curves_do_not_make_the_page_heavy():
    chart = loss(*(curve(f"fold {i}", 800) for i in range(100)))
    points = sum(map(len, polylines(chart.drawing, "fold")))
    assert 100 * 10 < points < 10_000


def test_non_finite_values_are_left_out_of_curves():
    broken = {**curve("a", 3), "loss": [1.0, float("nan"), float("inf")]}
    assert [len(x) for x in polylines(loss(broken, curve("b", 3)).drawing, "fold")] == [1, 3]
    assert loss({**broken, "loss": [float("nan")] * 3}) is None


def test_intervals_lie_where_their_figures_are():
    lines = [
        charts.Standing("first", 0.5, (0.25, 0.75), 1.0),
        charts.Standing("second", 0.0, None, None),
    ]
    chart = charts.intervals_chart("UF1", lines)
    dots = re.findall(r'<circle class="end" cx="([\d.]+)" cy="(\d+)"', chart.drawing)
    assert [float(x) for x, _ in dots] == [230.0, 8.0]
    assert float(dots[0][1]) < float(dots[1][1]) < chart.height
    assert re.findall(r'class="whisker" d="M([\d.]+) .*?H([\d.]+)', chart.drawing) == [
        ("119.0", "341.0")
    ]
    assert re.findall(r'class="published" d="M([\d.]+) ', chart.drawing) == ["452.0"]
    assert chart.description == "first 0.500 [0.25, 0.75], published 1.000; second 0.000."


def test_bars_have_the_length_of_their_figures_and_label_inflated_ones():
    chart = charts.inflation_chart("UF1", [charts.Bars("a", 0.5, 0.75, 1.0)])
    bars = re.findall(r'<rect class="(\w+)" .*?width="([\d.]+)"', chart.drawing)
    assert bars == [("honest", "160.0"), ("inflated", "240.0"), ("inflated", "320.0")]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart.drawing)
    for label in ("a", "result", "not a result (a)", "not a result (b)", "0.500", "0.750", "1.000"):
        assert label in texts
    # A number never leaves the chart.
    assert all(float(x) <= 452 for x in re.findall(r'<text[^>]* x="([\d.]+)"', chart.drawing))


def test_long_names_are_cut_in_the_drawing_only():
    chart = charts.intervals_chart("UF1", [charts.Standing("<" * 80, 0.5, None, None)])
    assert f">{'&lt;' * 33}…<" in chart.drawing
    assert "<" * 80 in chart.description
