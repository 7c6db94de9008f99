"""Bar charts as SVG, by the standard library alone.

One chart is a row of panels, one panel a setting, with the same loops in the same order and one scale: a
length in one panel can be held against a length in another. refloop is drawn dark, its peers light, the floor
in sand; the value stands beside its bar, and the spread of the rounds is a line on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.measure import Spread

WIDTH, MARGIN, GUTTER, LABELS = 900, 16, 20, 130
ROW, BAR, HEAD, PANEL_HEAD, FOOT = 22, 14, 56, 26, 30
OURS, PEERS, FLOOR, INK, FAINT = "#1b4f72", "#a9c4d6", "#d9c7a0", "#222222", "#777777"

_STYLE = (
    "text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:11px;fill:#222222}"
    ".title{font-size:15px;font-weight:600}.faint{fill:#777777}.head{font-weight:600}"
)


@dataclass(frozen=True, slots=True)
class Chart:
    """``panels`` maps a setting to the value of each loop; ``unit`` is what the numbers are."""

    title: str
    unit: str
    panels: Mapping[str, Mapping[str, Spread]]


def svg(chart: Chart, *, columns: int = 3) -> str:
    """The chart as an SVG document, with ``columns`` panels beside each other."""
    names = list(dict.fromkeys(name for panel in chart.panels.values() for name in panel))
    columns = min(columns, len(chart.panels))
    top = max(spread.median for panel in chart.panels.values() for spread in panel.values())
    panel_width = (WIDTH - 2 * MARGIN - LABELS - columns * GUTTER) / columns
    panel_height = PANEL_HEAD + ROW * len(names)
    rows = -(-len(chart.panels) // columns)
    height = HEAD + rows * (panel_height + GUTTER) + FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(chart.title)}</title><style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(MARGIN, 26, chart.title, kind="title"),
        _text(MARGIN, 43, f"{chart.unit}; shorter is better; the line shows the rounds from least to most"),
    ]
    for place, (setting, values) in enumerate(chart.panels.items()):
        row, column = divmod(place, columns)
        y = HEAD + row * (panel_height + GUTTER)
        x = MARGIN + LABELS + GUTTER + column * (panel_width + GUTTER)
        if column == 0:
            parts += [
                _text(MARGIN + LABELS, y + PANEL_HEAD + ROW * line + 14, name, anchor="end")
                for line, name in enumerate(names)
            ]
        parts.append(_text(x, y + 14, setting, kind="head"))
        parts += _bars(names, values, x, y + PANEL_HEAD, panel_width, top)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _bars(
    names: Sequence[str], values: Mapping[str, Spread], x: float, y: float, width: float, top: float
) -> list[str]:
    room = width - 58  # for the value, beside the longest bar
    parts = [f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + ROW * len(names)}" stroke="{FAINT}"/>']
    for line, name in enumerate(names):
        spread, above = values.get(name), y + ROW * line + (ROW - BAR) / 2
        if spread is None:
            parts.append(_text(x + 6, above + 11, "–", kind="faint"))
            continue
        long, low, high = (min(value / top, 1.0) * room for value in (spread.median, spread.low, spread.high))
        parts.append(
            f'<rect x="{x:.1f}" y="{above}" width="{long:.1f}" height="{BAR}" fill="{_colour(name)}"/>'
        )
        parts.append(
            f'<line x1="{x + low:.1f}" y1="{above + BAR / 2}" x2="{x + high:.1f}" y2="{above + BAR / 2}" '
            f'stroke="{INK}" stroke-width="1"/>'
        )
        parts.append(_text(x + max(long, high) + 5, above + 11, number(spread.median)))
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
