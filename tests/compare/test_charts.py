"""Line charts: what is drawn where, read from the SVG."""

import re

import pytest

from tenet.compare.charts import COLOURS, FEW_POINTS, line_chart
from tenet.compare.curves import Point


def paths(chart, colour=COLOURS[0]):
    """The corners of the paths in a colour: of lines, then of markers."""
    found = re.findall(rf'<path d="([^"]+)"[^>]*style="[^"]*(?:stroke|fill): {colour}', chart)
    return [[tuple(map(float, place)) for place in re.findall(r"[ML] (\S+) (\S+)", path)] for path in found]


def texts(chart):
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart)


def point(step, mean, spread=0.0):
    return Point(step, mean, mean - spread, mean + spread)


def curve(count):
    return [point(step, 4.0 - step / count, 0.5) for step in range(count)]


def test_the_vertical_axis_is_a_square_root_if_asked_for():
    points = [point(step, value) for step, value in enumerate((0.0, 1.0, 4.0, 4.0, 4.0, 4.0, 4.0))]
    for is_root, share in ((True, 0.5), (False, 0.25)):
        line = max(paths(line_chart([points], title="m", is_root=is_root)), key=len)
        (_, bottom), (_, middle), (_, top) = line[:3]
        assert bottom > middle > top
        assert (bottom - middle) / (bottom - top) == pytest.approx(share, abs=1e-4)


def test_many_points_have_a_band_and_few_points_have_error_bars():
    bars, band = (line_chart([curve(count)], title="m") for count in (FEW_POINTS, FEW_POINTS + 1))
    assert ("FillBetween" in band, "LineCollection" in band) == (True, False)
    assert ("FillBetween" in bars, "LineCollection" in bars) == (False, True)


def test_error_bars_span_the_interval_and_stand_side_by_side():
    curves = [[point(1, 2.0, 1.0), point(2, 0.0)], [point(1, 4.0), point(2, 4.0)]]
    chart = line_chart(curves, title="m", along="severity", is_root=False)
    lines = [path for path in paths(chart) if len(path) == 2]
    (x, mean), (_, zero) = next(line for line in lines if line[0][0] != line[1][0])
    bar = next(line for line in lines if line[0][0] == line[1][0] == x)
    unit = (zero - mean) / 2
    assert sorted(y for _, y in bar) == pytest.approx([mean - unit, mean + unit], abs=1e-3)
    other = next(line for line in paths(chart, COLOURS[1]) if len(line) == 2 and line[0][0] != line[1][0])
    assert other[0][0] > x


def test_a_band_that_reaches_below_zero_ends_there():
    chart = line_chart([[point(step, 1.0, step / 2) for step in range(9)]], title="m")
    assert "nan" not in chart.lower()


def test_groups_differ_in_their_markers_too():
    chart = line_chart([curve(7) for _ in COLOURS], title="m")
    shapes = [re.findall(rf'<path id="\w+" d="([^"]+)" style="stroke: {colour}', chart) for colour in COLOURS]
    assert [len(found) for found in shapes] == [1] * len(COLOURS)
    assert len({shape for (shape,) in shapes}) == len(COLOURS)


@pytest.mark.parametrize(
    ("top", "is_root", "ticks"),
    [
        (72.1, True, ["0", "2", "10", "20", "50"]),
        (2.24, True, ["0", "0.05", "0.2", "0.5", "1", "2"]),
        (16.0, False, ["0", "2", "4", "6", "8", "10", "12", "14", "16"]),
    ],
)
def test_axes_have_round_numbers(top, is_root, ticks):
    chart = line_chart([[point(0, top), point(10, top)]], title="m", is_root=is_root)
    assert texts(chart) == ["0", "2", "4", "6", "8", "10", "step", *ticks]


def test_every_severity_has_its_number():
    chart = line_chart(
        [[point(s, 9.0, 1.0) for s in range(1, 6)]], title="m", along="severity", is_root=False
    )
    assert {"1", "2", "3", "4", "5"} <= set(texts(chart)[:5])


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, 1e-300, 1e-12, 1e12, 1e300, -3.0])
def test_values_of_any_size_are_drawn(value):
    for count in (1, 5, 9):
        assert "<svg" in line_chart([[point(step, value) for step in range(count)]], title="m")
    assert line_chart([[], []], title="m") == ""


def test_the_same_curves_give_the_same_bytes_and_the_title_is_escaped():
    chart = line_chart([curve(9)], title='<b>"')
    assert chart == line_chart([curve(9)], title='<b>"')
    assert "<b>" not in chart
    assert 'aria-label="&lt;b&gt;&quot;"' in chart
