"""A life-cycle table as a picture: states as boxes, in columns by their distance from the first, moves as
arrows.

A table is total, and mostly refusals; what is drawn is what it allows. A move that leaves the state as it is
has no arrow. The picture is SVG with the classes of the site's style sheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from html import escape
from typing import NamedTuple, TypeAlias

Table: TypeAlias = Sequence[tuple[tuple[Enum, Enum], object]]
"""The entries of a life cycle: state and move, and the state that this leads to, or a refusal."""

CHARACTER, HEIGHT, GAP, ROW = 7.0, 30, 128, 84
"""Width of a character, height of a box, room between columns and distance of rows, in pixels."""


class Box(NamedTuple):
    """A state and its place: the left upper corner, and the width."""

    state: Enum
    x: float
    y: float
    width: float


def arrows(table: Table) -> dict[tuple[Enum, Enum], list[str]]:
    """From which state to which, by which moves."""
    states = {state for (state, _), _ in table}
    found: dict[tuple[Enum, Enum], list[str]] = {}
    for (state, move), to in table:
        if isinstance(to, Enum) and to in states and to != state:
            found.setdefault((state, to), []).append(_name(move))
    return found


def _name(entry: Enum) -> str:
    return entry.name.lower().replace("_", " ")


def _columns(table: Table, edges: Iterable[tuple[Enum, Enum]]) -> list[list[Enum]]:
    """The states by their distance from the first, in the order of the table."""
    order = list(dict.fromkeys(state for (state, _), _ in table))
    distance: dict[Enum, int] = {order[0]: 0}
    pairs = list(edges)
    for _ in order:
        for here, there in pairs:
            if here in distance:
                distance[there] = min(distance.get(there, len(order)), distance[here] + 1)
    far = max(distance.values())
    columns: list[list[Enum]] = [[] for _ in range(far + 1)]
    for state in order:
        columns[distance.get(state, far)].append(state)
    return columns


def svg(table: Table, title: str) -> str:
    """``table`` as one SVG element."""
    edges = arrows(table)
    columns = _columns(table, edges)
    tallest = max(map(len, columns))
    boxes: dict[Enum, Box] = {}
    left = 10.0
    for column in columns:
        width = max(len(_name(state)) for state in column) * CHARACTER + 24
        for place, state in enumerate(column):
            y = 40 + (place + (tallest - len(column)) / 2) * ROW
            boxes[state] = Box(state, left, y, width)
        left += width + GAP
    width, height = left - GAP + 10, 50 + (tallest - 1) * ROW + HEIGHT
    drawn = []
    for (here, there), moves in edges.items():
        back = edges.get((there, here), []) if boxes[here].x != boxes[there].x else []
        if not back or boxes[here].x < boxes[there].x:  # there and back are one arrow with two heads
            drawn.append(_arrow(boxes[here], boxes[there], moves, back))
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    opened = f'<svg class="life" {size} role="img" aria-label="{escape(title)}">{_TIP}'
    picture = "".join((opened, *drawn, *map(_box, boxes.values()), "</svg>"))
    # An id is one in a page, which may have several pictures.
    return picture.replace("tip-of-arrow", f"tip-{title.lower().replace(' ', '-')}")


_TIP = (
    '<defs><marker id="tip-of-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker></defs>'
)


def _box(box: Box) -> str:
    middle = box.x + box.width / 2
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{HEIGHT}" rx="5"/>'
        f'<text class="state" x="{middle:.1f}" y="{box.y + 20:.1f}">{escape(_name(box.state))}</text>'
    )


def _arrow(here: Box, there: Box, moves: list[str], back: list[str]) -> str:
    words = " · ".join(moves) + (" ⇄ " + " · ".join(back) if back else "")
    if there.x != here.x:
        onward = there.x > here.x
        x, to_x = (here.x + here.width, there.x) if onward else (here.x, there.x + there.width)
        y, to_y = here.y + HEIGHT / 2, there.y + HEIGHT / 2
        bend = (to_x - x) / 2
        path = f"M{x:.1f} {y:.1f}C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        # Nearer to where it ends: there the arrows of one state have parted.
        share = 0.6
        at_x, at_y = x + (to_x - x) * share, y + (to_y - y) * (3 * share**2 - 2 * share**3) - 5
    else:
        x, to_y = here.x + here.width / 2, there.y if there.y > here.y else there.y + HEIGHT
        y = here.y + HEIGHT if there.y > here.y else here.y
        side = -8 if there.y > here.y else 8
        path = f"M{x + side:.1f} {y:.1f}L{x + side:.1f} {to_y:.1f}"
        anchor = "end" if side < 0 else "start"
        return _drawn(path, x + 1.6 * side, (y + to_y) / 2 + (10 if side > 0 else 0), words, anchor)
    return _drawn(path, at_x, at_y, words, "middle", both=bool(back))


def _drawn(path: str, x: float, y: float, words: str, anchor: str, *, both: bool = False) -> str:
    start = ' marker-start="url(#tip-of-arrow)"' if both else ""
    return (
        f'<path class="move" d="{path}" marker-end="url(#tip-of-arrow)"{start}/>'
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
    )
