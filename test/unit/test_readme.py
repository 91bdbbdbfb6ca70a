"""The README keeps up with the code."""

import re
from pathlib import Path

import pytest

from dhpe_ros.config import Config

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_every_parameter_is_listed_with_its_default():
    for name, field, value in Config().items():
        row = re.search(rf"^\| `{re.escape(name)}` \| (.*?) \| (.*?) \| (yes)? ?\|$", README, re.M)
        assert row, name
        default, description, live = row.groups()
        assert default.strip('`"').lower() == str(value).lower(), name
        assert description == field.metadata["description"], name
        assert bool(live) == field.metadata["live"], name


@pytest.mark.parametrize("page", ["README.md", *(str(p) for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{page}: {target}"
