"""The specification as a site: what its checks refuse, and that it is whole."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loopspec.clause import AREAS, register
from loopspec.conformance.site import pages as making
from loopspec.conformance.site.__main__ import build
from loopspec.conformance.site.checking import faults
from loopspec.conformance.site.diagram import arrows, svg
from loopspec.conformance.site.pages import LIVES, Life, SiteError, anchors, pages
from tests.conformance import browser

ROOT = Path(__file__).parent.parent.parent


class State(Enum):
    NEW = 1
    OLD = 2


class Move(Enum):
    GO = 1
    STAY = 2


TABLE = (
    ((State.NEW, Move.GO), State.OLD),
    ((State.NEW, Move.STAY), State.NEW),
    ((State.OLD, Move.GO), None),
    ((State.OLD, Move.STAY), State.NEW),
)


def test_an_arrow_is_a_move_that_leads_elsewhere() -> None:
    assert arrows(TABLE) == {(State.NEW, State.OLD): ["go"], (State.OLD, State.NEW): ["stay"]}


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.place)
def test_every_state_of_a_life_is_drawn_once_and_no_box_lies_on_another(life: Life) -> None:
    drawing = ElementTree.fromstring(svg(life.table, life.title))
    named = [text.text for text in drawing.findall("text[@class='state']")]
    assert sorted(filter(None, named)) == sorted(
        {state.name.lower().replace("_", " ") for (state, _), _ in life.table}
    )
    boxes = [
        tuple(float(rect.get(side, "")) for side in ("x", "y", "width")) for rect in drawing.findall("rect")
    ]
    for x, y, width in boxes:
        assert [(x, y, width)] == [
            box for box in boxes if box[0] < x + width and x < box[0] + box[2] and abs(box[1] - y) < 30
        ]


@pytest.mark.full
def test_a_clause_has_a_heading_of_its_own_on_the_page_of_its_area_and_nowhere_else() -> None:
    made = pages(ROOT)
    for id, entry in register().items():
        heading = f"## {id} {{ #{id} }}"
        assert [name for name, text in made.items() if heading in text] == [f"{entry.area.lower()}.md"]


@pytest.mark.full
def test_a_mention_of_a_clause_that_there_is_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "more.md").write_text("See TIMER.FIRE.NEVER_LATE.\n", encoding="utf-8")
    for place in (making.SMALL_SCOPE, "tests/spec/proofs.toml"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text((ROOT / place).read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(SiteError, match=r"^more\.md: TIMER\.FIRE\.NEVER_LATE is no clause$"):
        pages(tmp_path)


def test_what_is_wrong_with_a_built_site_is_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "area").mkdir()
    (tmp_path / "index.html").write_text(
        '<h2 id="A.B.C"></h2><a href="area/#X">.</a><a href="area/#Y">.</a><a href="gone/">.</a>'
        '<a href="https://example.org/">.</a><script src="https://example.org/s.js"></script>',
        encoding="utf-8",
    )
    (tmp_path / "area" / "index.html").write_text('<p id="X"></p><p id="X"></p>', encoding="utf-8")
    places = {"A.B.C": "index.html", "X": "area/index.html", "Z": "area/index.html", "W": "no.html"}
    assert list(faults(tmp_path, places)) == [
        "X has 2 places on area/index.html, and needs one",
        "Z has 0 places on area/index.html, and needs one",
        "W has 0 places on no.html, and needs one",
        "index.html loads https://example.org/s.js from outside",
        "index.html links to area/#Y: no such anchor",
        "index.html links to gone/: no such page",
    ]


@pytest.mark.full
def test_the_site_builds_and_every_page_loads_without_a_complaint(tmp_path: Path) -> None:
    html = build(ROOT, tmp_path / "docs")
    assert list(faults(html.resolve(), anchors(register()))) == []
    if browser.find() is None:
        pytest.fail(browser.MISSING, pytrace=False)
    with browser.page(tmp_path / "profile") as shown:
        for width in (360, 1280):
            shown.look(width, 900)
            for file in sorted(html.rglob("index.html")):
                shown.open(file)
                assert shown.evaluate("document.documentElement.scrollWidth") == width, file
        assert shown.complaints == []


@pytest.mark.full
def test_a_clause_without_a_page_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "AREAS", tuple(area for area in AREAS if area != "timer"))
    with pytest.raises(SiteError, match=r"timer"):
        build(ROOT, tmp_path / "docs")
