"""Write the generated pages of docs/reference/ from the sources: ``python docs/generate.py``.

``test/unit/test_reference.py`` fails where a committed page is not what this writes.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from dhpe_lab.training.config import TrainConfig
from dhpe_ros.cli.main import OWN
from dhpe_ros.config import Config
from dhpe_ros.ros.node_configs import BridgeConfig, RetargetConfig
from dhpe_ros.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"


def pages() -> dict[Path, str]:
    """Path -> text of every generated page."""
    texts = {
        "parameters.md": parameters(),
        "messages.md": messages(),
        "launch.md": launch_arguments(),
        "options.md": options(),
        "training-settings.md": training_settings(),
    }
    return {REFERENCE / name: text for name, text in texts.items()}


def parameters() -> str:
    return f"""\
{_head("Parameters", "dhpe_ros/config.py")}
Set them in a file (`params_file:=mine.yaml`), on the command line (`-p NAME:=VALUE`), or while the
node runs (`ros2 param set /hand NAME VALUE`) where the last column says so.
The node refuses a value out of range and says why.
`ros2 param describe /hand NAME` prints the same text.
A number that is not whole needs its decimal point: `1.0`, not `1`.
`dhpe predict --config` reads the same file.

## Node `hand`
{_settings(Config(), live=True)}

## Node `hand_collision`
{_settings(BridgeConfig())}

## Node `retarget`
{_settings(RetargetConfig())}
"""


def training_settings() -> str:
    return f"""\
{_head("Training settings", "dhpe_lab/training/config.py")}
`dhpe train` takes them from a YAML file (`--config`), and as `SECTION.NAME=VALUE` on the command
line.

{_settings(TrainConfig())}
"""


def messages() -> str:
    parts = [_head("Messages", "msg/*.msg")]
    for path in sorted((ROOT / "msg").glob("*.msg")):
        parts.append(
            f"## dhpe_ros/msg/{path.stem}\n\n```\n{path.read_text('utf-8').strip()}\n```\n"
        )
    return "\n".join(parts)


def launch_arguments() -> str:
    parts = [_head("Launch arguments", "launch/*.launch.py")]
    for name in ("hand.launch.py", "demo.launch.py", "retarget.launch.py"):
        rows = ((f"`{n}`", _shown(d), text) for n, d, text in _arguments(ROOT / "launch" / name))
        parts.append(f"## {name}\n\n{_table(('argument', 'default', 'meaning'), rows)}\n")
    parts.append("`demo.launch.py` also takes every argument of `hand.launch.py`.\n")
    return "\n".join(parts)


def options() -> str:
    parts = [_head("Options", "dhpe_ros/cli/")]
    for command in OWN:
        parser = argparse.ArgumentParser(add_help=False)
        command.add_arguments(parser)
        rows = ((f"`{_usage(a)}`", (a.help or "") % vars(a)) for a in parser._actions)
        table = _table(("argument", "meaning"), rows)
        parts.append(f"## dhpe {command.NAME}\n\n{command.SUMMARY}\n\n{table}\n")
    return "\n".join(parts)


def _usage(action: argparse.Action) -> str:
    """An argument as users type it."""
    if action.nargs == 0:
        return action.option_strings[-1]
    choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else None
    value = action.metavar or choices or action.dest.upper()
    return f"{'/'.join(action.option_strings)} {value}".strip()


def _arguments(path: Path) -> Iterable[tuple[str, str, str]]:
    """Name, default and description of a launch file's ARGUMENTS, read without running it."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ARGUMENTS":
            assert isinstance(node.value, ast.Dict)
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                assert isinstance(value, ast.Tuple)
                default, description = value.elts
                yield ast.literal_eval(key), _default(default), ast.literal_eval(description)


def _default(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return str(re.findall(r"'([^']+)'", ast.unparse(node))[0])  # shared_file('config/hand.yaml')


def _head(title: str, source: str) -> str:
    return f"# {title}\n\n*Written by `python docs/generate.py` from `{source}`.*\n"


def _settings(settings: Settings, live: bool = False) -> str:
    """One table a section."""
    header = ("name", "default", "range", "meaning", *["live"] * live)
    parts = []
    for section, items in groupby(settings.items(), key=lambda item: item[0].rpartition(".")[0]):
        rows = [
            (f"`{name}`", _shown(value), _range(field.metadata), field.metadata["description"])
            + (("yes" if field.metadata["live"] else "",) if live else ())
            for name, field, value in items
        ]
        parts.append((f"### {section}\n\n" if section else "") + _table(header, rows))
    return "\n\n".join(parts)


def _range(metadata: dict) -> str:
    if metadata["one_of"]:
        return ", ".join(choice or '`""`' for choice in metadata["one_of"])
    ends = (metadata["at_least"], metadata["at_most"])
    return "" if ends == (None, None) else " to ".join("" if e is None else f"{e:g}" for e in ends)


def _shown(value: object) -> str:
    return '`""`' if value == "" else str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("<", "&lt;")


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = tuple(header)
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, "utf-8")
