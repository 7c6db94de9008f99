"""A time line as a picture: SVG, in the colours of the page around it.

Time goes down, as in the terminal, because what has to be read are sentences; a lane is a column, an event a
row, and what lasts a bar at the edge of its lane. Widths are reckoned from the number of characters, since
the font is a monospaced one and nobody can be asked. Nothing here has a colour of its own: the classes do, in
the style sheet of the report, for light, dark and paper alike."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from loopspec.conformance.timeline import Mark, Span, Timeline

CHARACTER, LINE = 7.3, 16
"""Width and height of a character, in pixels, at the font size of the style sheet: 12 px monospaced."""

GUTTER, HEADING, PADDING = 56, 30, 8
BAR, STEP = 5, 8
"""Width of the bar of a span, and how far those that overlap stand apart, in pixels."""

NARROWEST, WIDEST = 11, 34
"""A lane holds so many characters a line; longer words are broken into several."""

HEAD, TAIL = 60, 240
"""A run with more events than both is drawn without its middle."""


class _Column(NamedTuple):
    left: float
    width: float
    characters: int
    bars: int


class _Row(NamedTuple):
    mark: Mark
    top: float
    lines: tuple[str, ...]

    @property
    def bottom(self) -> float:
        return self.top + LINE * len(self.lines) + 4


def svg(line: Timeline, title: str) -> str:
    """``line`` as one SVG element; ``title`` is what a screen reader says of it."""
    columns = _columns(line)
    rows = list(_rows(line.marks, columns))
    width = columns[-1].left + columns[-1].width + PADDING
    height = rows[-1].bottom + PADDING if rows else HEADING
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return "".join(
        (
            f'<svg class="run" {size} role="img" aria-label="{escape(title)}">',
            *_lanes(line.lanes, columns, height),
            *_turns(rows, width),
            *_gap(line.marks, rows, columns),
            *_bars(line, rows, columns),
            *(_event(row, columns[row.mark.lane], width) for row in rows),
            "</svg>",
        )
    )


def _columns(line: Timeline) -> Sequence[_Column]:
    columns: list[_Column] = []
    left: float = GUTTER
    for lane, name in enumerate(line.lanes):
        said = [mark.words for mark in line.marks if mark.lane == lane]
        said += [span.words for span in line.spans if span.lane == lane and not _has_mark(span, line)]
        longest = max(map(len, [name, *said]))
        characters = min(max(longest, NARROWEST), WIDEST)
        bars = max(_depths([span for span in line.spans if span.lane == lane]).values(), default=-1) + 1
        width = 2 * PADDING + bars * STEP + characters * CHARACTER
        columns.append(_Column(left, width, characters, bars))
        left += width
    return columns


def _has_mark(span: Span, line: Timeline) -> bool:
    """Whether an event of its own lane says in words what the span is."""
    return line.marks[span.begin].lane == span.lane


def _depths(spans: Iterable[Span]) -> dict[Span, int]:
    """A place for each span, such that those that overlap stand beside each other."""
    places: dict[Span, int] = {}
    for span in spans:
        taken = {place for other, place in places.items() if other.end > span.begin}
        places[span] = next(place for place in range(len(taken) + 1) if place not in taken)
    return places


def _rows(marks: Sequence[Mark], columns: Sequence[_Column]) -> Iterator[_Row]:
    top: float = HEADING + 6
    for mark in marks:
        if HEAD <= mark.position < len(marks) - TAIL:
            continue
        if mark.position == len(marks) - TAIL and len(marks) > HEAD + TAIL:
            top += 2 * LINE
        row = _Row(mark, top, _broken(mark.words, columns[mark.lane].characters))
        yield row
        top = row.bottom


def _broken(words: str, characters: int) -> tuple[str, ...]:
    return tuple(textwrap.wrap(words, characters, break_on_hyphens=False)) or ("",)


def _lanes(names: Sequence[str], columns: Sequence[_Column], height: float) -> Iterator[str]:
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        shade = " odd" if place % 2 else ""
        yield (
            f'<rect class="lane{shade}" x="{column.left:.1f}" y="0" width="{column.width:.1f}"'
            f' height="{height:.1f}"/>'
        )
        yield _text("name", column.left + PADDING, 19, name)


def _turns(rows: Sequence[_Row], width: float) -> Iterator[str]:
    for row in rows:
        if row.mark.opens_turn:
            yield f'<path class="turn" d="M{GUTTER} {row.top:.1f}H{width:.1f}"/>'


def _gap(marks: Sequence[Mark], rows: Sequence[_Row], columns: Sequence[_Column]) -> Iterator[str]:
    left_out = len(marks) - len(rows)
    if left_out:
        yield _text("gap", columns[0].left + PADDING, rows[HEAD - 1].bottom + LINE, f"⋮ {left_out:,} more")


def _bars(line: Timeline, rows: Sequence[_Row], columns: Sequence[_Column]) -> Iterator[str]:
    at = {row.mark.position: row for row in rows}
    for lane, column in enumerate(columns):
        for span, depth in _depths([span for span in line.spans if span.lane == lane]).items():
            shown = [at[place] for place in range(span.begin, span.end + 1) if place in at]
            if not shown:
                continue
            top, bottom = shown[0].top + 2, shown[-1].bottom - 2
            if span.ended and len(shown) > 1:
                bottom = shown[-1].top + LINE / 2 + 2
            x = column.left + PADDING / 2 + depth * STEP
            ended = "" if span.ended else " open"
            yield (
                f'<rect class="span {span.what.value}{ended}" x="{x:.1f}" y="{top:.1f}" width="{BAR}"'
                f' height="{max(bottom - top, 4):.1f}" rx="2"><title>{escape(span.words)}</title></rect>'
            )
            if not _has_mark(span, line):
                left = column.left + PADDING + column.bars * STEP
                for number, part in enumerate(_broken(span.words, column.characters)):
                    yield _text("ready", left, top + 11 + LINE * number, part)


def _event(row: _Row, column: _Column, width: float) -> str:
    mark = row.mark
    left = column.left + PADDING + column.bars * STEP
    number = _text("number", GUTTER - 22, row.top + 13, str(mark.position), anchor="end")
    words = [_text("", left, row.top + 13 + LINE * place, part) for place, part in enumerate(row.lines)]
    if not mark.refused:
        return f"<g>{number}{''.join(words)}</g>"
    band = (
        f'<rect class="refused" x="0.5" y="{row.top:.1f}" width="{width - 1:.1f}"'
        f' height="{row.bottom - row.top:.1f}" rx="3"/>'
    )
    cross = _text("cross", GUTTER - 16, row.top + 13, "✗")
    return f'<g class="here">{band}{number}{cross}{"".join(words)}</g>'


def _text(kind: str, x: float, y: float, words: str, *, anchor: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    anchor = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(words)}</text>'
