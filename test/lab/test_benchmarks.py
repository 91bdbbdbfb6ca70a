"""The table of `make bench`: its keys, its comparison, and the baseline that is committed."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch):
    """The script as a module; its neighbours are found as when it is started."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import run

    yield run
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def figure(value, unit="ms", direction="lower", key="render.forward_ms.cpu"):
    return {"key": key, "value": value, "unit": unit, "direction": direction, "device": "here"}


def test_the_baseline_holds_every_figure_once(run):
    keys = [f["key"] for f in json.loads(run.BASELINE.read_text())]
    expected = {
        metric.key(device)
        for module in run.MODULES
        for metric in module.METRICS
        for device in ("cpu", "cuda")
    }
    assert sorted(keys) == sorted(expected)


def test_a_measurement_has_a_figure_for_every_metric_and_says_what_is_missing(run):
    figures = list(run.measure_module(run.hand_layer, "cpu"))
    assert [f["key"] for f in figures] == [f"{m.name}.cpu" for m in run.hand_layer.METRICS]
    assert all(f["value"] > 0 and f["device"] for f in figures)
    if not run.machine.name_of("cuda"):
        missing = list(run.measure_module(run.hand_layer, "cuda"))
        assert all(f["value"] is None and "missing" in f["device"] for f in missing)


def test_the_rate_of_training_is_told_apart_by_the_size_of_pictures(run):
    sizes_and_rates = [(64, 1.0), (64, 200.0), (128, 150.0), (128, 100.0), (128, 100.0)]
    rows = [{"input_size": size, "images_per_s": rate} for size, rate in sizes_and_rates]
    rates = run.networks.training_rates([*rows, {"step": 9, "check/mean.mesh": 1.0}])
    assert rates["train.full_size_images_per_s"] == pytest.approx(100)
    assert rates["train.images_per_s"] == pytest.approx(4 / (1 / 200 + 1 / 150 + 2 / 100))


@pytest.mark.parametrize(
    ("now", "before", "speed", "verdict"),
    [
        (figure(5.0), 10.0, 1.0, "2.00 x better"),
        (figure(10.0), 5.0, 1.0, "2.00 x WORSE"),
        (figure(10.0), 5.0, 0.5, ""),  # the machine is half as fast: nothing changed
        (figure(5.0), 5.0, 0.5, "2.00 x better"),
        (figure(100.0, "images/s", "higher"), 200.0, 0.5, ""),
        (figure(100.0, "images/s", "higher"), 200.0, 1.0, "2.00 x WORSE"),
        (figure(0.0, "MB"), 2.0, 1.0, ""),  # nothing to compare by ratio
        (figure(3.0, "x", "higher"), 3.0, 0.5, ""),  # a ratio within one run is not scaled
    ],
)
def test_changes_are_told_from_the_speed_of_the_machine(run, now, before, speed, verdict):
    assert run.change(now, before, speed) == verdict


def test_the_table_shows_value_baseline_and_what_is_missing(run):
    lost = figure(None, key="render.forward_ms.cuda") | {"device": "missing: no such device"}
    lines = list(run.table([figure(5.0), lost], {"render.forward_ms.cpu": figure(10.0)}))
    assert "2.00 x better" in lines[1] and "5" in lines[1] and "10" in lines[1]
    assert "missing: no such device" in lines[2]
