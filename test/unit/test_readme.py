"""Pages name files and programs that exist. Links within docs/ are mkdocs' to check."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = sorted([*ROOT.glob("*.md"), *(ROOT / "weights").glob("*.md")])
PAGES = [*OUTSIDE, *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", OUTSIDE, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_and_modules_exist(page):
    text = page.read_text("utf-8")
    for path in re.findall(r"`((?:dhpe_ros|dhpe_lab|test|docs|config|weights)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (dhpe_\w+(?:\.\w+)+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), module
