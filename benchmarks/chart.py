"""A chart of small panels as SVG, both axes logarithmic: what the plotting libraries make a large file of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, COLUMNS = 240, 170, 4
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 28, 26
LABEL = 36
"""Between two labels of an axis, so that they don't overlap."""
LOWEST = 1.0
"""Microseconds: what costs less, or by noise less than nothing, is drawn here, and hollow."""


@dataclass(frozen=True)
class Panel:
    """One curve.

    Attributes:
        title: What it grows by.
        points: Sizes and what they cost.
    """

    title: str
    points: Sequence[tuple[float, float]]


def drawn(panels: Sequence[Panel], title: str) -> str:
    """All panels on one scale of costs, from 1 to the power of ten above the highest.

    Args:
        panels: What to draw.
        title: What the vertical axes show.
    """
    highest = max((value for panel in panels for _, value in panel.points), default=LOWEST)
    decades = max(1, math.ceil(math.log10(max(highest, LOWEST * 10))))
    columns = max(1, min(COLUMNS, len(panels)))
    width, height = columns * WIDTH, 24 + math.ceil(len(panels) / columns) * HEIGHT
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="10" fill="#333">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="16" font-size="12" font-weight="bold">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        parts += [f'<g transform="translate({column * WIDTH} {24 + row * HEIGHT})">', *_panel(panel, decades), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, decades: int) -> list[str]:
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    sizes = [math.log10(max(size, 1)) for size, _ in panel.points]
    span = max(sizes) - min(sizes) or 1.0

    def across(size: float) -> float:
        return LEFT + (math.log10(max(size, 1)) - min(sizes)) / span * inner_width

    def up(value: float) -> float:
        return TOP + inner_height * (1 - math.log10(max(value, LOWEST)) / decades)

    parts = [f'<text x="{LEFT}" y="18">{escape(panel.title)}</text>']
    for decade in range(decades + 1):
        y = up(10**decade)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{10**decade:,}</text>')
    line = " ".join(f"{across(size):.1f},{up(value):.1f}" for size, value in panel.points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0b6e99" stroke-width="1.5"/>')
    labelled = -math.inf
    for size, value in panel.points:
        x = across(size)
        fill = "#0b6e99" if value >= LOWEST else "#fff"
        parts.append(f'<circle cx="{x:.1f}" cy="{up(value):.1f}" r="2.5" fill="{fill}" stroke="#0b6e99"/>')
        if x - labelled >= LABEL:
            labelled = x
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{size:,}</text>')
    return parts
