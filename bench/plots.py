"""Bar charts as SVG, by the standard library alone.

One chart has a panel for each setting, and one scale for all: a length in one can be held against a length
in another. refloop is drawn dark, its peers light, the floor in sand; the value stands beside its bar, and
the spread of the rounds is a line on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.measure import Spread

WIDTH, MARGIN, GUTTER, LABELS = 900, 16, 20, 130
ROW, BAR, HEAD, PANEL_HEAD = 22, 14, 56, 26
OURS, PEERS, FLOOR, INK, FAINT = "#1b4f72", "#a9c4d6", "#d9c7a0", "#222222", "#777777"

_STYLE = (
    "text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:11px;fill:#222222}"
    ".title{font-size:15px;font-weight:600}.head{font-weight:600}"
)


@dataclass(frozen=True, slots=True)
class Chart:
    """``panels`` maps a setting to the value of each loop; ``unit`` is what the numbers are."""

    title: str
    unit: str
    panels: Mapping[str, Mapping[str, Spread]]


def svg(chart: Chart) -> str:
    """The chart as an SVG document: panels beside each other if they have the same loops, else one below the
    other."""
    panels = list(chart.panels.items())
    alike = len({tuple(values) for _, values in panels}) == 1
    columns = min(3, len(panels)) if alike else 1
    width = (WIDTH - 2 * MARGIN - LABELS - columns * GUTTER) / columns
    top = max(spread.median for _, values in panels for spread in values.values())
    parts: list[str] = []
    y = HEAD
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        names = list(row[0][1])
        parts += [
            _text(MARGIN + LABELS, y + PANEL_HEAD + ROW * line + 14, name, anchor="end")
            for line, name in enumerate(names)
        ]
        for column, (setting, values) in enumerate(row):
            x = MARGIN + LABELS + GUTTER + column * (width + GUTTER)
            parts.append(_text(x, y + 14, setting, kind="head"))
            parts += _bars(values, x, y + PANEL_HEAD, width, top)
        y += PANEL_HEAD + ROW * len(names) + GUTTER
    unit = f"{chart.unit}; shorter is better; the line shows the rounds from least to most"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img">',
            f"<title>{escape(chart.title)}</title><style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>',
            _text(MARGIN, 26, chart.title, kind="title"),
            _text(MARGIN, 43, unit),
            *parts,
            "</svg>\n",
        ]
    )


def _bars(values: Mapping[str, Spread], x: float, y: float, width: float, top: float) -> list[str]:
    room = width - 58  # for the value, beside the longest bar
    parts = [f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + ROW * len(values)}" stroke="{FAINT}"/>']
    for line, (name, spread) in enumerate(values.items()):
        above, middle = y + ROW * line + (ROW - BAR) / 2, y + ROW * line + ROW / 2
        long, low, high = (min(each / top, 1.0) * room for each in (spread.median, spread.low, spread.high))
        parts += [
            f'<rect x="{x:.1f}" y="{above}" width="{long:.1f}" height="{BAR}" fill="{_colour(name)}"/>',
            f'<line x1="{x + low:.1f}" y1="{middle}" x2="{x + high:.1f}" y2="{middle}" stroke="{INK}"/>',
            _text(x + max(long, high) + 5, above + 11, number(spread.median)),
        ]
    return parts


def _colour(name: str) -> str:
    if name.startswith("refloop"):
        return OURS
    return FLOOR if name.startswith("bare") else PEERS


def number(value: float) -> str:
    """Three digits, and no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _text(x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attribute}>{escape(text)}</text>'
