"""Measures what docs/results.md says and writes it: ``python docs/results.py --real FOLDER``.

Each section is a ``dhpe evaluate`` command and the tables of its report. Predictions are kept in
the user's cache, so only what is new is predicted. ``--rhd``, ``--stb`` and ``--dexter-object`` add
those sets, for who has them.
"""

import argparse
import re
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from dhpe_lab.evaluation.report.cited import AUC_20_50, cited_tables
from dhpe_lab.evaluation.report.pages import table_lines
from dhpe_ros.cli.main import main as dhpe

PAGE = Path(__file__).with_name("results.md")
_SECTION = r"^(##+) ([^\n]+)\n(.*?)(?=^##|\Z)"
_KEPT = (
    "Overview",
    "3D by alignment",
    "Masks",
    "By joint and finger",
    "Does it know when it is wrong?",
)
_INTRO = """\
# Results

Written by `python docs/results.py{arguments}` on {day}, with the weights named below; not edited by
hand. [evaluation.md](evaluation.md) says what the figures mean and how to get your own. Samples are
small: differences of a percent or two of a figure are noise. Labels of `signs` and `wild` are
MediaPipe's, another tracker's output and no ground truth; rendered hands have exact ones.

No figure here is from RHD, STB or Dexter+Object unless a section says so: who has these sets gets
their sections by the same program. Nothing was run on a GPU; times are from a shared CPU.
"""
_CITED = """\
## What others published

Not measured here: cited from the papers, whose protocols differ in details ([cited] in every row).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docs/results.md.")
    add = parser.add_argument
    add("--real", help="folder of signs/ and wild/")
    add("--rhd", help="RHD_published_v2")
    add("--stb", help="folder of STB's images/ and labels/")
    add("--dexter-object", help="folder of Dexter+Object's data/")
    add("--mediapipe", action="store_true", help="compare with MediaPipe, where it is installed")
    add("--limit", type=int, default=200, help="hands of each set (%(default)s)")
    add("--few", type=int, default=50, help="hands, or frames, of what is slow (%(default)s)")
    add("--output", type=Path, default=PAGE, help="what to write (%(default)s)")
    options = parser.parse_args()
    shown = " --real FOLDER" * bool(options.real) + " --mediapipe" * options.mediapipe
    shown += f" --limit {options.limit} --few {options.few}"
    parts = [_INTRO.format(arguments=shown, day=date.today().isoformat())]
    for title, command in sections(options):
        parts.append(section(title, command))
    parts.append(_CITED)
    parts += ["\n".join(table_lines(t)) + "\n" for name in AUC_20_50 for t in cited_tables(name)]
    partial = options.output.with_suffix(".partial")
    partial.write_text("\n".join(parts), "utf-8")
    partial.replace(options.output)


def sections(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Titles, and the options of ``dhpe evaluate`` for each."""
    limit, few = (["--limit", str(count)] for count in (options.limit, options.few))
    rivals = ["swarm", "keypoints", *["mediapipe"] * options.mediapipe]
    both = ["--method", "dhpe", "networks"]
    found = [
        ("Rendered hands from all sides", ["--set", "synthetic", *limit, *both]),
        ("Rivals, on fewer of them", ["--set", "synthetic", *few, *both, *rivals]),
        ("The rendered clip, searched and followed", ["--set", "demo", *few, "--search"]),
    ]
    if options.real:
        real = ["--real", options.real]
        found += [
            ("Photographs, boxes given", ["--set", "signs", "wild", *limit, *real]),
            ("Photographs, searched", ["--set", "signs", *few, *real, "--search"]),
        ]
    for name in ("rhd", "stb", "dexter_object"):
        if folder := getattr(options, name):
            found.append((name, ["--set", folder]))
    return found


def section(title: str, command: list[str]) -> str:
    """One command: run, and its tables, without pictures."""
    with TemporaryDirectory() as folder:
        if dhpe(["evaluate", *command, "--report", folder]) != 0:
            raise SystemExit(f"dhpe evaluate {' '.join(command)} failed")
        text = (Path(folder) / "report.md").read_text("utf-8")
    tables = []
    for level, heading, body in re.findall(_SECTION, text, re.M | re.S):
        rows = re.findall(r"^\|.*?(?=\n\n|\Z)", body, re.M | re.S)
        if heading in _KEPT:
            tables += rows
        elif level == "##" and heading != "How this was made":
            tables.append(f"**{heading}**")
    about = next(line for line in text.splitlines() if line.startswith("Weights "))
    shown = " ".join("FOLDER" if Path(word).is_dir() else word for word in command)
    return "\n\n".join([f"## {title}", f"```\ndhpe evaluate {shown}\n```", about, *tables]) + "\n"


if __name__ == "__main__":
    main()
