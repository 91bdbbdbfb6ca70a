"""All figures in one table: make bench, or python benchmarks/run.py --only render.

Writes benchmarks/out/latest.json, a list of {key, value, unit, direction, device}, and compares it
with the committed baseline.json. A key ends in the device's type, cpu or cuda, where there is one
to speak of. What could not be measured has the value null and the reason in place of the device.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import engine
import hand_layer
import machine
import networks
import node
import predict
import refine
import rendering
import rivals
import stages
import start
from tqdm import tqdm

HERE = Path(__file__).parent
LATEST, BASELINE = HERE / "out" / "latest.json", HERE / "baseline.json"
MODULES: tuple[ModuleType, ...] = (
    machine, hand_layer, rendering, networks, engine, refine, stages, rivals, node, start, predict,
)  # fmt: skip
NOTABLE = 0.15  # a smaller change is taken for noise


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure, print a table, compare with a baseline.")
    parser.add_argument("--only", default="", help="only modules with a key that contains this")
    parser.add_argument(
        "--save-baseline", action="store_true", help="what was measured becomes the baseline"
    )
    options = parser.parse_args()
    figures = measure(options.only)
    baseline = {f["key"]: f for f in json.loads(BASELINE.read_text())}
    print("\n".join(table(figures, baseline)))
    LATEST.parent.mkdir(exist_ok=True)
    write(figures, LATEST)
    if options.save_baseline:
        measured = {f["key"]: f for f in figures if f["value"] is not None}
        known = {f["key"]: f for f in figures} | baseline | measured
        write(list(known.values()), BASELINE)


def measure(only: str) -> list[dict]:
    """Every figure of the modules chosen, on every device, those of the machine always."""
    jobs = [
        (module, device)
        for device in ("cpu", "cuda")
        for module in MODULES
        if module is machine or any(only in f"{m.name}.{device}" for m in module.METRICS)
    ]
    figures: list[dict] = []
    for module, device in (bar := tqdm(jobs, leave=False, unit="part")):
        bar.set_description(f"{module.__name__}.{device}")
        figures += measure_module(module, device)
    return figures


def measure_module(module: ModuleType, device: str) -> Iterator[dict]:
    """Figures of one module on one device, in the order of its METRICS."""
    name = machine.name_of(device)
    values = module.measure(device) if name else {}
    for metric in module.METRICS:
        if not metric.per_device and device != "cpu":
            continue
        missing = "missing: not installed" if name else "missing: no such device"
        value = values.get(metric.name)
        yield {
            "key": metric.key(device),
            "value": None if value is None else float(f"{value:.4g}"),
            "unit": metric.unit,
            "direction": metric.direction,
            "device": missing if value is None else name,
        }


def table(figures: list[dict], baseline: dict[str, dict]) -> Iterator[str]:
    """Lines of text: the figures beside the baseline's, and what changed."""
    yield f"{'key':48s} {'value':>10s} {'baseline':>10s}  unit"
    speeds = {device: machine_speed(figures, baseline, device) for device in ("cpu", "cuda")}
    for figure in figures:
        before = baseline.get(figure["key"], {}).get("value")
        if figure["value"] is None:
            yield f"{figure['key']:48s} {'-':>10s} {_number(before)}  {figure['device']}"
            continue
        speed = speeds.get(figure["key"].rsplit(".", 1)[1], 1.0)
        verdict = change(figure, before, speed) if before else "new"
        yield (
            f"{figure['key']:48s} {_number(figure['value'])} {_number(before)}  "
            f"{figure['unit']:9s} {verdict}"
        )
    yield "Changes are scaled by machine.reference_work_ms: how fast this machine is just now."


def machine_speed(figures: list[dict], baseline: dict[str, dict], device: str) -> float:
    """Speed of the machine over the baseline's; 1 where nothing is known."""
    key = f"{machine.METRICS[0].name}.{device}"
    now = next((f["value"] for f in figures if f["key"] == key), None)
    before = baseline.get(key, {}).get("value")
    return before / now if now and before else 1.0


def change(figure: dict, before: float, speed: float) -> str:
    """In words: how many times better or worse than the baseline on an equal machine."""
    if min(figure["value"], before) <= 0:
        return ""  # memory that did not grow: no ratio says more
    better = figure["value"] / before
    if figure["unit"] == "images/s":
        better /= speed
    elif figure["unit"] == "ms":
        better *= speed
    if figure["direction"] == "lower":
        better = 1 / better
    if abs(better - 1) < NOTABLE or figure["key"].startswith("machine."):
        return ""
    return f"{better:.2f} x better" if better > 1 else f"{1 / better:.2f} x WORSE"


def _number(value: float | None) -> str:
    return f"{value:10.4g}" if value is not None else f"{'-':>10s}"


def write(figures: list[dict], path: Path) -> None:
    """One figure per line, so that a change of the baseline can be read."""
    lines = ",\n".join(f"  {json.dumps(figure)}" for figure in figures)
    path.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
