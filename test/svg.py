"""Reading of the charts that reports hold."""

import re
import xml.etree.ElementTree as ElementTree

_SVG = "{http://www.w3.org/2000/svg}"


def curves(drawing: bytes) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each line, in points of the page, by "chart: label"."""
    groups = ElementTree.fromstring(drawing).iter(f"{_SVG}g")
    return {
        group.get("id"): [
            (float(x), float(y))
            for x, y in re.findall(r"[ML] (\S+) (\S+)", group.find(f"{_SVG}path").get("d"))
        ]
        for group in groups
        if ": " in group.get("id", "")
    }


def texts(drawing: bytes) -> set[str]:
    """Return all that is written in a chart."""
    return {text.text for text in ElementTree.fromstring(drawing).iter(f"{_SVG}text")}
