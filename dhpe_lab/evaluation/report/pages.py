"""A report as blocks, written as Markdown with files and as one HTML page by itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined


@dataclass(frozen=True)
class Heading:
    kind: ClassVar[str] = "heading"
    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first column is text, and so are all without ``numbers``."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = True


@dataclass(frozen=True)
class Figure:
    """A picture: an SVG or JPEG file."""

    kind: ClassVar[str] = "figure"
    name: str  # of its file
    content: bytes
    caption: str

    @property
    def data_uri(self) -> str:
        """The picture as the address of an ``img``."""
        media = {".svg": "svg+xml", ".jpg": "jpeg"}[Path(self.name).suffix]
        return f"data:image/{media};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Listing:
    """Text as it is, folded away in a browser."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


Block = Heading | Text | Table | Figure | Listing


def markdown(title: str, blocks: Sequence[Block]) -> str:
    """Render the blocks for people who read files; figures are linked by their names."""
    return _render("page.md.jinja", title, blocks)


def html(title: str, blocks: Sequence[Block]) -> str:
    """Render the blocks as one page that needs no other file."""
    return _render("page.html.jinja", title, blocks)


def write(folder: Path, title: str, blocks: Sequence[Block]) -> None:
    """Write ``report.html``, ``report.md`` and the figures into ``folder``."""
    for block in blocks:
        if isinstance(block, Figure):
            replace_file(folder / block.name, block.content)
    replace_file(folder / "report.md", markdown(title, blocks).encode())
    replace_file(folder / "report.html", html(title, blocks).encode())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)


def table_lines(table: Table) -> list[str]:
    """Return the lines of a table in Markdown."""
    header = "| " + " | ".join(table.header) + " |"
    other = "|---:" if table.numbers else "|---"
    line = "|---" + other * (len(table.header) - 1) + "|"
    return [header, line, *("| " + " | ".join(row) + " |" for row in table.rows)]


def _render(template: str, title: str, blocks: Sequence[Block]) -> str:
    environment = Environment(
        loader=PackageLoader("dhpe_lab.evaluation.report", "."),
        autoescape=template.startswith("page.html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["table_lines"] = table_lines
    return environment.get_template(template).render(title=title, blocks=blocks)
