"""A report as blocks, and the two ways to write it: Markdown with files, HTML in one piece."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first column is text, and so are all without ``numbers``."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = True


@dataclass(frozen=True)
class Figure:
    """A picture: SVG text, or the bytes of a JPEG."""

    name: str  # of its file
    content: str | bytes
    caption: str


@dataclass(frozen=True)
class Listing:
    """Text as it is, folded away in a browser."""

    title: str
    text: str


Block = Heading | Text | Table | Figure | Listing


def markdown(title: str, blocks: Sequence[Block]) -> str:
    """For people who read files; figures are linked by their names."""
    return "\n\n".join([f"# {title}", *(_markdown(block) for block in blocks)]) + "\n"


def html(title: str, blocks: Sequence[Block]) -> str:
    """One page that needs no other file."""
    body = "\n".join([f"<h1>{escape(title)}</h1>", *(_html(block) for block in blocks)])
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def write(folder: Path, title: str, blocks: Sequence[Block]) -> None:
    """``report.html``, ``report.md`` and the figures in ``folder``."""
    for block in blocks:
        if isinstance(block, Figure):
            content = block.content
            data = content if isinstance(content, bytes) else content.encode()
            replace_file(folder / block.name, data)
    replace_file(folder / "report.md", markdown(title, blocks).encode())
    replace_file(folder / "report.html", html(title, blocks).encode())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)


def table_lines(table: Table) -> list[str]:
    """The lines of a table in Markdown."""
    header = "| " + " | ".join(table.header) + " |"
    other = "|---:" if table.numbers else "|---"
    line = "|---" + other * (len(table.header) - 1) + "|"
    return [header, line, *("| " + " | ".join(row) + " |" for row in table.rows)]


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return "#" * block.level + " " + block.text
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Table):
        return "\n".join(table_lines(block))
    if isinstance(block, Figure):
        return f"![{block.caption}]({block.name})\n\n*{block.caption}*"
    return f"{block.title}:\n```\n{block.text.rstrip()}\n```"


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Table):
        head = "".join(f"<th>{escape(cell)}</th>" for cell in block.header)
        kind = "numbers" if block.numbers else "words"
        rows = (
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in block.rows
        )
        return (
            f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )
    if isinstance(block, Figure):
        if isinstance(block.content, str):
            picture = block.content
        else:
            data = base64.b64encode(block.content).decode()
            picture = f'<img alt="{escape(block.caption)}" src="data:image/jpeg;base64,{data}">'
        return (
            f'<figure><div class="wide">{picture}</div>'
            f"<figcaption>{escape(block.caption)}</figcaption></figure>"
        )
    return (
        f"<details><summary>{escape(block.title)}</summary>"
        f"<pre>{escape(block.text.rstrip())}</pre></details>"
    )


_STYLE = """
body { margin: 0; background: #f4f5f7; color: #1d2330; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 24px 36px 64px; background: #fff;
  box-shadow: 0 0 12px #0001; }
h1 { font-size: 27px; margin: 16px 0 4px; }
h2 { font-size: 20px; margin: 44px 0 10px; padding-bottom: 4px; border-bottom: 2px solid #e3e6ec; }
h3 { font-size: 16px; margin: 26px 0 6px; }
p { max-width: 860px; margin: 8px 0; color: #434b5c; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0 16px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; }
th { color: #5b6475; font-weight: 600; font-size: 13px; border-bottom: 2px solid #cfd4de; }
td { border-bottom: 1px solid #e9ecf1; }
th:first-child, td:first-child, .words th, .words td { text-align: left; }
tbody tr:hover { background: #f5f8fd; }
figure { margin: 14px 0 20px; }
figure img, figure svg { max-width: 100%; height: auto; border-radius: 4px; }
figcaption { color: #5b6475; font-size: 13px; margin-top: 4px; max-width: 860px; }
details { margin: 8px 0; }
summary { cursor: pointer; color: #2b5fb3; }
pre { background: #f4f5f7; padding: 12px; overflow-x: auto; font-size: 12.5px; }
"""
