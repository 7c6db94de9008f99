"""The report as a page: what the file holds, and what a person can do with it in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loopspec.conformance.drawn import HEAD, TAIL, svg
from loopspec.conformance.evidence import Evidence, Killed
from loopspec.conformance.html import page
from loopspec.conformance.setting import Setting
from loopspec.conformance.timeline import READY_LIST, Mark, Span, Timeline, What, timeline
from loopspec.trace import Event, JobEnd, JobStart, Step, WaitBegin
from tests.conformance import browser
from tests.conformance.browser import Page
from tests.conformance.made_up import CLAUSES, COUNTEREXAMPLE, EARLY, EVENTS, POSTS, REFUSED, results

SETTING = Setting("0.1.0", "3.11.7", "Linux 6.1", "2026-01-02", 7, 400)
EVIDENCE = {EARLY.id: Evidence(("tests/t.py::test_a",), (Killed("slip", "A <b>slip</b>.", None),))}
RUN = f"{EARLY.id}-in-bad"


# --- the time line --------------------------------------------------------------------------------------


def test_the_ready_list_stands_between_the_clients_and_the_loop() -> None:
    assert timeline(EVENTS, REFUSED).lanes == ("client 1", "client 2", READY_LIST, "loop", "thread t1")


def test_every_event_up_to_the_refused_one_is_a_mark_and_the_last_is_refused() -> None:
    marks = timeline(EVENTS, REFUSED).marks
    assert [mark.position for mark in marks] == list(range(REFUSED + 1))
    assert [mark.refused for mark in marks] == [False] * REFUSED + [True]
    assert marks[REFUSED] == Mark(REFUSED, 3, "fire timer 1 at 1 ms", refused=True)


def test_what_lasts_is_a_span_from_its_beginning_to_its_end() -> None:
    assert timeline(EVENTS, REFUSED).spans == (
        Span(What.WAIT, 3, 0, 2, "wait without end"),
        Span(What.READY, 2, 2, 5, "fd 7 IN|RDHUP"),
        Span(What.WAIT, 3, 5, 9, "wait, timeout 1.5 ms"),
        Span(What.HANDLER, 3, 10, 11, "dispatch 3, fd 8"),
        Span(What.HANDLER, 3, 13, 13, "fire timer 1 at 1 ms", ended=False),
    )


def test_jobs_are_told_apart_and_a_step_ends_where_the_next_begins() -> None:
    events: tuple[Event, ...] = (
        JobStart(1, "w1"),
        JobStart(2, "w2"),
        Step(1, 1, 0),
        JobEnd(2, "w2", "value", ""),
        Step(1, 2, 0),
        JobEnd(1, "w1", "value", ""),
    )
    spans = {span.words: (span.begin, span.end) for span in timeline(events, 5).spans}
    assert spans == {"job 1": (0, 5), "job 2": (1, 3), "step task 1": (2, 4), "step task 2": (4, 5)}


def _drawn(line: Timeline) -> ElementTree.Element:
    return ElementTree.fromstring(svg(line, "a <run>"))


def test_a_drawing_is_one_element_of_xml_with_every_event_in_it_and_one_refused() -> None:
    drawing = _drawn(timeline(EVENTS, REFUSED))
    said = "".join(drawing.itertext())
    assert drawing.get("aria-label") == "a <run>"
    assert "fd 7 IN|RDHUP" in said
    assert "connect to be echoed" in said
    assert len(drawing.findall(".//rect[@class='refused']")) == 1
    assert len([rect for rect in drawing.iter("rect") if (rect.get("class") or "").startswith("span")]) == 5


def test_spans_that_overlap_stand_beside_each_other() -> None:
    marks = tuple(Mark(place, 0, "x", refused=False) for place in range(4))
    spans = (Span(What.STEP, 0, 0, 3, "outer"), Span(What.HANDLER, 0, 1, 2, "inner"))
    outer, inner = _drawn(Timeline(("loop",), marks, spans)).findall(".//rect[@rx='2']")
    assert outer.get("x") != inner.get("x")


def test_a_long_run_is_drawn_without_its_middle() -> None:
    events = [WaitBegin(turn, None) for turn in range(HEAD + TAIL + 50)]
    drawing = _drawn(timeline(events, len(events) - 1))
    numbers = [text.text for text in drawing.findall(".//text[@class='number']")]
    assert (len(numbers), numbers[HEAD - 1], numbers[HEAD]) == (HEAD + TAIL, "59", "110")
    (gap,) = drawing.findall(".//text[@class='gap']")
    assert gap.text == "⋮ 50 more"


# --- the file -------------------------------------------------------------------------------------------


class _Balanced(HTMLParser):
    """Every element is closed in order, and nothing names a place outside of the file."""

    EMPTY = ("meta", "link", "input", "wbr", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += [id for id in [named.get("id")] if id]
        self.outside += [
            value for name in ("src", "href") if (value := named.get(name)) and value != "data:,"
        ]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_names_nothing_outside_and_no_id_twice() -> None:
    parser = _Balanced()
    parser.feed(page(results(), CLAUSES, EVIDENCE, SETTING))
    assert (parser.open, parser.outside) == ([], [])
    assert len(parser.ids) == len(set(parser.ids))


def test_the_page_says_everything_and_takes_nothing_for_markup() -> None:
    shown = page(results(), CLAUSES, EVIDENCE, SETTING)
    for part in (
        "2026-01-02",
        EARLY.sentence,
        EARLY.citation,
        "tests/t.py::test_a",
        "A &lt;b&gt;slip&lt;/b&gt;.",
        "1500000 ns or later",
        "loopspec check bad --clause TIMER.FIRE.NEVER_EARLY --replay 4f00aa",
        "✗ FAIL <small>3/70</small>",
    ):
        assert part in shown
    stranger = replace(COUNTEREXAMPLE, scenario=("<script>alert(1)</script>\x1b[2J",))
    bad = results()["bad"]
    bad.clauses[EARLY.id] = replace(bad.clauses[EARLY.id], counterexample=stranger)
    shown = page({"<i>": bad}, CLAUSES, EVIDENCE, SETTING)
    assert "&lt;script&gt;alert(1)" in shown
    assert "\x1b" not in shown
    assert "<i>" not in shown


# --- in the browser -------------------------------------------------------------------------------------


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Page]:
    """The page in a window of 1,100 by 900 pixels."""
    if browser.find() is None:
        pytest.fail(browser.MISSING, pytrace=False)
    file = tmp_path / "report.html"
    file.write_text(page(results(), CLAUSES, EVIDENCE, SETTING), encoding="utf-8")
    with browser.page(tmp_path / "profile") as found:
        found.look(1100, 900)
        found.open(file)
        yield found
        assert found.complaints == []


ROWS = "[...document.querySelectorAll('tr.clause')].filter(row => row.checkVisibility()).map(row => row.id)"
OPEN = "[...document.querySelectorAll('tr.about')].filter(row => row.checkVisibility()).map(row => row.id)"
FOCUS = "document.activeElement.closest('tr').id"


def _visible(shown: Page, selector: str) -> object:
    return shown.evaluate(f"document.querySelector({selector!r}).checkVisibility()")


def _choose(shown: Page, id: str, value: str) -> None:
    shown.evaluate(
        f"""(() => {{ const it = document.getElementById({id!r}); it.value = {value!r};
        it.dispatchEvent(new Event("input", {{bubbles: true}})); }})()"""
    )


@pytest.mark.full
def test_it_loads_with_every_row_shut_and_a_click_opens_one(shown: Page) -> None:
    assert shown.evaluate(ROWS) == [entry.id for entry in CLAUSES]
    assert shown.evaluate(OPEN) == []
    shown.click(f"tr[id='{POSTS.id}'] .open")
    assert shown.evaluate(OPEN) == [f"about-{POSTS.id}"]
    assert (
        shown.evaluate("document.querySelector('tr.about:not([hidden]) .sentence').innerText")
        == POSTS.sentence
    )
    shown.click(f"tr[id='{POSTS.id}'] .open")
    assert shown.evaluate(OPEN) == []


@pytest.mark.full
def test_it_filters_by_words_area_level_and_verdict(shown: Page) -> None:
    shown.click("#find")
    shown.type("timer deadline")
    assert shown.evaluate(ROWS) == [EARLY.id, CLAUSES[2].id]
    shown.click("#filters [type=reset]")
    assert shown.evaluate("new Promise(done => setTimeout(() => done(count.value)))") == "4 of 4 clauses"
    _choose(shown, "area", "WAKE")
    assert shown.evaluate(ROWS) == [POSTS.id]
    _choose(shown, "area", "")
    _choose(shown, "level", "SHOULD")
    assert shown.evaluate(ROWS) == [CLAUSES[2].id]
    _choose(shown, "level", "")
    for verdict in ("pass", "loose", "not-exercised", "not-observed"):
        shown.click(f"[name=verdict][value={verdict}]")
    assert shown.evaluate(ROWS) == [EARLY.id]
    assert shown.evaluate("count.value") == "1 of 4 clauses"


@pytest.mark.full
def test_a_click_on_a_failure_opens_its_drawn_run(shown: Page) -> None:
    assert not _visible(shown, f"[id='{RUN}']")
    shown.click(".show")
    assert _visible(shown, f"[id='{RUN}'] svg .refused")
    assert _visible(shown, f"[id='{RUN}'] .command")
    shown.click(f"[id='{RUN}'] .copy")
    chosen = shown.evaluate("String(getSelection())")
    assert chosen == "loopspec check bad --clause TIMER.FIRE.NEVER_EARLY --replay 4f00aa"


@pytest.mark.full
def test_the_keyboard_is_enough(shown: Page) -> None:
    shown.press("/")
    assert shown.evaluate("document.activeElement.id") == "find"
    shown.evaluate("document.querySelector('.open').focus()")
    shown.press("ArrowDown")
    assert shown.evaluate(FOCUS) == EARLY.id
    shown.press("Enter", "\r")
    assert shown.evaluate(OPEN) == [f"about-{EARLY.id}"]
    shown.press("Escape")
    assert shown.evaluate(OPEN) == []
    shown.press("ArrowUp")
    assert shown.evaluate(FOCUS) == CLAUSES[0].id


@pytest.mark.full
def test_it_prints_what_is_broken_and_no_controls(shown: Page) -> None:
    shown.look(900, 1200, media="print")
    assert _visible(shown, f"[id='{RUN}'] svg")
    assert not _visible(shown, f"[id='about-{POSTS.id}']")
    assert not _visible(shown, "#filters")
    assert shown.pdf().startswith(b"%PDF-")


@pytest.mark.full
@pytest.mark.parametrize("width", [320, 1100])
def test_no_width_makes_the_page_itself_scroll_sideways(shown: Page, width: int) -> None:
    shown.look(width, 900)
    shown.click(".show")
    assert shown.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.full
def test_light_and_dark_are_different_and_both_have_contrast(shown: Page) -> None:
    grounds = []
    for dark in (False, True):
        shown.look(1100, 900, dark=dark)
        style = "getComputedStyle(document.body)"
        pair = [shown.evaluate(f"{style}.{part}") for part in ("backgroundColor", "color")]
        ground, ink = (sum(map(int, re.findall(r"\d+", str(colour))[:3])) for colour in pair)
        assert abs(ground - ink) > 500
        grounds.append(ground)
    assert grounds[1] < 200 < 700 < grounds[0]
