"""The register: ids, digests, selection, and what cannot be entered."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace

import pytest

import loopspec
from loopspec import flow as flow_as_it_is
from loopspec.clause import AREAS, Clause, ClauseError, Kind, Level, Profile, clause, register, select
from loopspec.trace import Post, Run


def rule() -> None:
    """A sentence,
    in two lines."""


EARLY = "TIMER.FIRE.NEVER_EARLY"


def test_a_digest_is_of_id_level_kind_profile_and_sentence() -> None:
    text = (
        f"{EARLY}\nMUST\ninv\nloop\n"
        "A timer fires at the first timer phase at or after its deadline, never before it, at most once."
    )
    entry = register()[EARLY]
    assert entry.digest == hashlib.sha256(text.encode()).hexdigest()[:8] == "cbf5f962"
    assert entry.citation == f"{EARLY}@cbf5f962"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "TIMER.FIRE.EARLY"},
        {"level": Level.SHOULD},
        {"kind": Kind.BOUND},
        {"profile": Profile.ASYNC},
        {"sentence": "Another."},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_digest_changes_with_what_it_is_of(change: dict[str, object]) -> None:
    entry = register()[EARLY]
    assert replace(entry, **change).digest != entry.digest  # type: ignore[arg-type]
    assert replace(entry, source="elsewhere").digest == entry.digest


def test_the_sentence_is_the_docstring_in_one_line() -> None:
    assert register()["LOOP.HANDLER.ERROR_CONTAINED"].sentence == (
        "An exception in a handler is reported once; the rest of its batch runs, "
        "and the loop's tables are as before."
    )


def test_the_register_is_in_the_order_of_areas_and_every_area_has_clauses() -> None:
    areas = [entry.area for entry in register().values()]
    assert list(dict.fromkeys(areas)) == [area.upper() for area in AREAS]


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is entered into the register is out of it again afterwards."""
    monkeypatch.setattr("loopspec.clause._REGISTER", {**register()})


NEW = "NO.SUCH.CLAUSE"


@pytest.mark.usefixtures("entered")
def test_what_is_entered_is_what_was_said_of_the_rule_and_comes_last_if_its_area_is_none() -> None:
    enter = clause(
        NEW, Level.SHOULD, Kind.BOUND, Profile.RPC, source="here", watches={Run: "turn"}, also={Post: None}
    )
    assert enter(rule) is rule
    entry = register()[NEW]
    assert entry == Clause(
        NEW, Level.SHOULD, Kind.BOUND, Profile.RPC, "A sentence, in two lines.", "here", rule
    )
    assert (entry.watches, entry.also) == ({Run: "turn"}, {Post: None})
    assert list(register())[-1] == NEW


@pytest.mark.usefixtures("entered")
def test_a_rule_that_reads_no_trace_watches_nothing() -> None:
    clause(NEW, Level.MUST, Kind.DEF, Profile.KERNEL, source="")(rule)
    made = Clause(NEW, Level.MUST, Kind.DEF, Profile.KERNEL, "A sentence, in two lines.", "", rule)
    for entry in (register()[NEW], made):
        assert (entry, entry.watches, entry.also) == (made, {}, {})


def test_an_area_is_imported_where_it_has_not_been(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = {id for id in register() if id.startswith("FLOW.")}
    monkeypatch.setattr("loopspec.clause._REGISTER", {})
    monkeypatch.setattr(loopspec, "flow", flow_as_it_is)
    monkeypatch.delitem(sys.modules, "loopspec.flow")
    assert flow <= register().keys()


def test_selection_is_by_id_or_by_whole_words_in_front() -> None:
    def ids(*selectors: str) -> list[str]:
        return [entry.id for entry in select(selectors)]

    assert ids() == list(register())
    assert ids(EARLY) == [EARLY]
    assert ids("TIMER.FIRE") == [EARLY, "TIMER.FIRE.NOT_AFTER_CANCEL"]
    assert ids("WAKE", "TIMER.FIRE") == [
        EARLY,
        "TIMER.FIRE.NOT_AFTER_CANCEL",
        "WAKE.POST.NOT_LOST",
        "WAKE.POST.NEVER_SUSPENDS",
        "WAKE.CHANNEL.ONE_BIT",
        "WAKE.SIGNAL.NOT_LOST",
        "WAKE.POST.AFTER_CLOSE",
    ]


@pytest.mark.parametrize("selector", ["TIM", "timer", "TIMER.", "NOBODY", ""])
def test_a_selector_that_names_no_clause_is_refused(selector: str) -> None:
    with pytest.raises(ClauseError, match="no clause is named"):
        select([selector])


@pytest.mark.parametrize("id", ["", "TIMER", "TIMER.FIRE", "timer.fire.early", "A.B.C.D", "A.B.C1", "A._B.C"])
def test_what_is_not_three_words_is_no_id(id: str) -> None:
    with pytest.raises(ClauseError, match="is no clause id"):
        clause(id, Level.MUST, Kind.INV, Profile.LOOP, source="")


def test_a_rule_without_a_sentence_is_refused() -> None:
    with pytest.raises(ClauseError, match=r"clause NO\.SUCH\.CLAUSE has no sentence"):
        clause("NO.SUCH.CLAUSE", Level.MUST, Kind.INV, Profile.LOOP, source="")(lambda: None)
    assert "NO.SUCH.CLAUSE" not in register()


def test_an_id_is_taken_once() -> None:
    before: Clause = register()[EARLY]
    with pytest.raises(ClauseError, match="is registered twice"):
        clause(EARLY, Level.MUST, Kind.INV, Profile.LOOP, source="")(rule)
    assert register()[EARLY] is before
