"""Measure what docs/results.md says and write it: ``python docs/results.py --real FOLDER``.

Accuracy comes from ``dhpe evaluate``; speed is that of ``benchmarks/baseline.json``, which
``make bench ARGS=--save-baseline`` measures. Rows that are not measured stay as they are.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from dhpe_ros.cli.main import main as dhpe

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_suffix(".md")
BASELINE = ROOT / "benchmarks" / "baseline.json"
_PAGE = """\
# Results

*Written by `python docs/results.py --real FOLDER`; not edited by hand.*

[Measure accuracy](how-to/evaluate.md) defines the figures.
Numbers in brackets count hands or pictures; few of them make noisy figures.

- "2D" is the mean distance of the mesh's 21 joints from the labels, in percent of the longer
  side of their box.
- "3D AUC" is the area under the PCK curve from 20 to 50 mm, aligned at the root, with the true
  bone scale.
- `signs`, `wild` and `frames2` are photographs that were not trained on, and 100 of the 778
  `negatives` (`--split val`): the networks learnt that the others show no hand. MediaPipe
  labelled them; such labels are another tracker's output and not ground truth.
- Rendered hands have exact labels. They come from the program that rendered training hands.
- Speeds of the pipeline and of the node were measured with the networks of before, of the same
  size, and with a second inference of unsure crops. Beside MediaPipe Hands in one run, a tracked
  hand takes 2.0 times its time now, and a picture with search 1.6 times
  (`make bench ARGS='--only frame'`, 1 December 2026, two threads).
- No row is from RHD, STB or Dexter+Object. `dhpe evaluate --set FOLDER` measures them where they
  are.

| what | value | command | measured |
|---|---|---|---|
{rows}

![Milliseconds of a frame by hands, picture size and threads](images/cost.svg)

A frame of followed hands: one, two and four of them in quarters of 640 x 480, by two threads; one
hand in larger pictures; one hand by one and two threads. Processor time is that of all threads.
By `python benchmarks/cost.py` on 2026-12-01, two cores of an Intel Xeon, beside other work, which
inflates the wall time.
"""
_HANDS = {
    "found_pct": "found {:.0f} %",
    "err2d_pct": "2D {:.1f} %",
    "err2d_median_pct": "median {:.1f} %",
    "mask_iou": "mask IoU {:.2f}",
    "auc_20_50": "3D AUC {:.2f}",
}
_PICTURES = {
    "recall": "recall {:.2f}",
    "recall_small": "of small hands {:.2f}",
    "precision": "precision {:.2f}",
    "side_pct": "side right {:.0f} %",
    "err2d_median_pct": "2D median {:.1f} %",
}
_FALSE_ALARMS = {"with_hand_pct": "a hand in {:.1f} % of them"}
_REAL = ["--real", "FOLDER"]
_ACCURACY = (
    ("Rendered hands from all sides, boxes given", ["--set", "synthetic"], _HANDS),
    ("The same, networks alone", ["--set", "synthetic", "--method", "networks"], _HANDS),
    ("The clip that ships, searched and tracked", ["--set", "demo", "--search"], _HANDS),
    ("`signs`, boxes given", ["--set", "signs", *_REAL], _HANDS),
    ("`wild`, boxes given", ["--set", "wild", *_REAL], _HANDS),
    ("`frames2`, whole pictures", ["--set", "frames2", *_REAL], _PICTURES),
    ("Its faults by kind", ["--set", "frames2", *_REAL], {"faults": "{}"}),
    (
        "`negatives`, pictures without a hand",
        ["--set", "negatives", "--split", "all", *_REAL],
        _FALSE_ALARMS,
    ),
    ("`negatives` not trained on", ["--set", "negatives", *_REAL], _FALSE_ALARMS),
)
_SPEED = (
    ("stages.estimate_ms.cpu", "A tracked hand, from image to mesh"),
    ("stages.evidence_ms.cpu", "Of it, the evidence networks, once"),
    ("stages.refinement_ms.cpu", "Of it, the refinement"),
    ("stages.search_ms.cpu", "A search of a 640 x 480 image"),
    ("refine.reference_ms.cpu", "The paper's 50 refinement steps"),
    ("networks.lite_ms.eager.cpu", "Networks of `lite`, a crop, eager"),
    ("networks.lite_ms.openvino.cpu", "Networks of `lite`, a crop, compiled"),
    ("networks.full_ms.eager.cpu", "Networks of `full`, a crop, eager"),
    ("networks.full_ms.openvino.cpu", "Networks of `full`, a crop, compiled"),
    ("node.latency_p50_ms.cpu", "Node, from stamp to `~/hands`, median"),
    ("node.latency_p95_ms.cpu", "Node, from stamp to `~/hands`, 95th percentile"),
    ("node.start_ms", "Node, from start to ready, compiled"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docs/results.md.")
    parser.add_argument("--real", help="folder of signs/, wild/ and so on")
    parser.add_argument("--limit", type=int, help="hands or pictures of each set (default: all)")
    parser.add_argument("--only", default="", help="only rows of accuracy that contain this")
    options = parser.parse_args()
    rows = _rows_of_page()
    for what, command, figures in _ACCURACY:
        if options.only in what and (options.real or "FOLDER" not in command):
            command = [*command, *(["--limit", str(options.limit)] if options.limit else [])]
            rows[what] = _accuracy(command, figures, options.real)
            _write(rows)
    _write(rows | dict(_speed()))


def _rows_of_page() -> dict[str, str]:
    """Rows of the present page: first column -> the others."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, re.M))


def _write(rows: dict[str, str]) -> None:
    order = [*(what for what, *_ in _ACCURACY), *(what for _, what in _SPEED)]
    table = [f"| {what} | {rows[what]} |" for what in order if what in rows]
    PAGE.write_text(_PAGE.format(rows="\n".join(table)), "utf-8")


def _accuracy(command: list[str], figures: dict[str, str], real: str | None) -> str:
    with TemporaryDirectory() as folder:
        report = Path(folder, "figures.json")
        words = [real or word if word == "FOLDER" else word for word in command]
        if dhpe(["evaluate", *words, "--json", str(report)]) != 0:
            raise SystemExit(f"dhpe evaluate {' '.join(words)} failed")
        found = json.loads(report.read_text("utf-8"))
    faults = found.get("faults", {}).items()
    found["faults"] = ", ".join(f"{kind} {hands}" for kind, hands in faults)
    known = [text.format(found[key]) for key, text in figures.items() if found.get(key) is not None]
    value = f"{', '.join(known)} ({found.get('n', found.get('pictures'))})"
    return f"{value} | `dhpe evaluate {' '.join(command)}` | {date.today().isoformat()}"


def _speed() -> Iterator[tuple[str, str]]:
    """Rows of ``make bench``: measured part -> the other columns."""
    bench = {figure["key"]: figure for figure in json.loads(BASELINE.read_text())}
    blame = ["git", "blame", "--date=short", str(BASELINE)]
    lines = subprocess.check_output(blame, cwd=ROOT, text=True).splitlines()
    for key, what in _SPEED:
        command = f"`make bench ARGS='--only {key}'`"
        value, device = bench[key]["value"], bench[key]["device"]
        if value is None:  # not measured yet
            continue
        (line,) = (line for line in lines if f'"{key}"' in line)
        day = re.findall(r"\d{4}-\d\d-\d\d", line)[0]
        shown = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
        yield what, f"{shown} ms | {command} | {day}, {device}"


if __name__ == "__main__":
    main()
