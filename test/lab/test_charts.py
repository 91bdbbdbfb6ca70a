"""Charts are SVG whose lines and bars lie where their values say."""

import pytest
from svg import curves, texts

from dhpe_lab.evaluation.report.charts import Chart, draw_bars, draw_charts


def test_charts_put_points_where_they_belong():
    one = Chart("a < b", "x", "y", {"one": ((0, 10), (0.5, 1.0)), "two": ((0, 10), (0.8, 0.9))})
    other = Chart("c", "x", "y", {"two": ((0, 1), (0.0, 1.0))}, ((0, "none"), (1, "all")), (0, 2))
    drawn = draw_charts([[one, other], [other]])
    found = curves(drawn)
    assert set(found) == {"a < b: one", "a < b: two", "c: two"}
    (left, bottom), (right, top) = found["a < b: one"]
    (_, from_y), (_, to_y) = found["a < b: two"]
    assert left < right
    assert from_y == pytest.approx(bottom + 0.6 * (top - bottom), abs=0.01)
    assert to_y == pytest.approx(bottom + 0.8 * (top - bottom), abs=0.01)
    assert {"a < b", "one", "two", "0.5", "1.0", "none", "all"} <= texts(drawn)
    assert drawn == draw_charts([[one, other], [other]])


def test_bars_are_as_high_as_their_values():
    drawn = draw_bars("t", "mm", ["a", "b"], {"one": [1.0, None], "other": [2.0, 4.0]})
    bars = {
        name: max(y for _, y in at) - min(y for _, y in at) for name, at in curves(drawn).items()
    }
    assert bars.keys() == {"a: one", "a: other", "b: other"}
    assert bars["a: other"] == pytest.approx(2 * bars["a: one"], rel=1e-3)
    assert bars["b: other"] == pytest.approx(4 * bars["a: one"], rel=1e-3)
    assert {"t", "mm", "a", "b", "one", "other"} <= texts(drawn)
