"""Reports from templates: Markdown with files, and the same as one HTML page by itself."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

Columns = Mapping[str, tuple[str, str]]  # key of a figure -> title and format


def table(corner: str, rows: Sequence[tuple[str, Mapping]], columns: Columns) -> Markup:
    """A table in Markdown: names of rows with their figures, a dash for one that is None.

    Columns that no row has are left out. ``corner`` is the title of the first one.
    """
    known = {k: c for k, c in columns.items() if any(row.get(k) is not None for _, row in rows)}
    lines = [[corner, *(title for title, _ in known.values())]]
    for name, row in rows:
        lines.append([name, *(shown(row.get(key), form) for key, (_, form) in known.items())])
    head, *body = (f"| {' | '.join(map(escaped, line))} |" for line in lines)
    return Markup("\n".join([head, "|---" + "|---:" * len(known) + "|", *body]))


def shown(value: object, form: str = "") -> str:
    """A figure as a cell; a dash for None."""
    return "-" if value is None else format(value, form)


def escaped(value: object) -> str:
    """Text of a value in Markdown and HTML; ``Markup`` stays as it is."""
    return str(value) if isinstance(value, Markup) else escape(str(value), quote=False)


def render(template: str, **values: object) -> str:
    """Fill a template of this folder in, values ``escaped``."""
    environment = Environment(
        loader=PackageLoader("dhpe_lab.evaluation.report", "."),
        finalize=escaped,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.globals["table"] = table
    return environment.get_template(template).render(values)


def write(folder: Path, text: str, pictures: Mapping[str, bytes]) -> None:
    """Write ``report.md``, the pictures it links, and ``report.html``, which needs neither."""
    for name, content in pictures.items():
        replace_file(folder / name, content)
    replace_file(folder / "report.md", text.encode())
    replace_file(folder / "report.html", html(text, pictures).encode())


def html(text: str, pictures: Mapping[str, bytes]) -> str:
    """Markdown as a page with its pictures in it."""
    from markdown import markdown

    def within(link: re.Match) -> str:
        media = {".svg": "svg+xml", ".jpg": "jpeg"}[Path(link[1]).suffix]
        return f'src="data:image/{media};base64,{base64.b64encode(pictures[link[1]]).decode()}"'

    body = re.sub(r'src="([^"]+)"', within, markdown(text, extensions=["tables"]))
    return render("page.html.jinja", body=Markup(body))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
