"""A bar chart as plain SVG: one group of bars for each name, one bar in it for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dhpe_lab.evaluation.report.curves import COLORS, svg_text

_HEIGHT, _LEFT, _TOP, _BOTTOM, _GROUP = 190, 52, 34, 96, 42  # pixels


def draw_bars(
    title: str,
    y_label: str,
    names: Sequence[str],
    bars: Mapping[str, Sequence[float | None]],
) -> str:
    """An SVG document; ``bars``: label -> a height for each name, None where there is none."""
    highest = max((v for values in bars.values() for v in values if v is not None), default=1.0)
    width = _LEFT + len(names) * _GROUP + 12
    height = _TOP + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        svg_text(width / 2, 18, title, "middle", "bold"),
        f'<g transform="translate(14 {_TOP + _HEIGHT / 2}) rotate(-90)">',
        svg_text(0, 0, y_label, "middle"),
        "</g>",
        f'<g transform="translate({_LEFT} {_TOP})">',
    ]
    for k in range(5):
        y = (1 - k / 4) * _HEIGHT
        parts.append(f'<path d="M0 {y:.1f}H{len(names) * _GROUP}" stroke="#e4e4e4"/>')
        parts.append(svg_text(-6, y + 4, f"{highest * k / 4:.3g}", "end"))
    thick = 0.76 * _GROUP / max(len(bars), 1)
    for i, name in enumerate(names):
        for j, values in enumerate(bars.values()):
            if values[i] is not None:
                tall = _HEIGHT * values[i] / max(highest, 1e-9)
                x = i * _GROUP + 0.12 * _GROUP + j * thick
                parts.append(
                    f'<rect x="{x:.1f}" y="{_HEIGHT - tall:.1f}" width="{thick:.1f}" '
                    f'height="{tall:.1f}" fill="{COLORS[(j + 1) % len(COLORS)]}"/>'
                )
        place = f"translate({(i + 0.5) * _GROUP:.1f} {_HEIGHT + 14}) rotate(-40)"
        parts += [f'<g transform="{place}">', svg_text(0, 0, name, "end"), "</g>"]
    parts.append("</g>")
    for j, label in enumerate(bars):
        x, y = _LEFT + 190 * j, height - 14
        color = COLORS[(j + 1) % len(COLORS)]
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{color}"/>')
        parts.append(svg_text(x + 18, y, label, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"
