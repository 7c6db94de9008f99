"""The adapter is looked at for itself: each fault has its words. And the walk-through comes to its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

from loopspec.clause import select
from loopspec.conformance import author
from loopspec.conformance.adapter import Deviation, World
from loopspec.conformance.campaign import GROUP, Campaign, MakeLoop
from loopspec.conformance.isolation import Isolated
from loopspec.conformance.lockstep import hand
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.judge import Verdict

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


class Nameless(RefloopLoop):
    version = ""


class Imagines(RefloopLoop):
    shows = RefloopLoop.shows | {"Teleport"}


class Deviates(RefloopLoop):
    deviations: ClassVar = {"TIMER.FIRE.SOMETIMES": Deviation("see the manual", "a matter of luck")}


class Incomplete:
    version = "incomplete 1"
    shows = RefloopLoop.shows

    def __init__(self, world: World) -> None:
        self.call_soon = print


class OwnClock(RefloopLoop):
    """Its timers tell deadlines by a clock that is not the world's."""

    def call_later(self, delay: int, callback: Callable[[], None]) -> object:  # type: ignore[override]
        timer = super().call_later(delay, callback)

        class Timer:
            deadline = time.monotonic_ns() + 10**15 + delay
            cancel = timer.cancel

        return Timer()


class Leaks(RefloopLoop):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        LEAKED.append(os.eventfd(0))


class Overstates(RefloopLoop):
    """Declares timers, whose operation does nothing that would show."""

    def timers_held(self) -> int:
        raise NotImplementedError


class Modest(RefloopLoop):
    shows = RefloopLoop.shows - {"Enqueue"}


LEAKED: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_leaks_from_here() -> Iterator[None]:
    yield
    while LEAKED:
        os.close(LEAKED.pop())


def complaints(name: str, examples: int) -> list[author.Complaint]:
    entry = EntryPoint(name, f"{__name__}:{name}", GROUP)
    sys.modules.setdefault(__name__, sys.modules[Nameless.__module__])
    return list(author.look(entry, examples))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nowhere", "cannot be loaded: "),
        ("Nameless", "version is missing"),
        ("Imagines", "shows names 'Teleport', and no event is called so"),
        ("Deviates", "deviations names 'TIMER.FIRE.SOMETIMES', and no clause is called so"),
        ("Deviates", "the deviation from TIMER.FIRE.SOMETIMES has no link"),
        ("Incomplete", "run is missing: Call ``main()`` as the loop's first callback"),
        ("OwnClock", "a clock of its own: a timer armed at "),
        ("Leaks", "a descriptor is left behind: close() does not close anon_inode:[eventfd]"),
        ("Overstates", "an exception is let out: NotImplementedError"),
        ("Overstates", "TimersHeld is declared and was not shown"),
    ],
)
def test_what_is_wrong_with_an_adapter_is_said(name: str, words: str) -> None:
    assert any(complaint.wrong and words in complaint.words for complaint in complaints(name, 40))


def test_what_may_be_meant_is_told_and_is_not_wrong() -> None:
    assert any(
        not complaint.wrong and complaint.words.startswith("Enqueue is shown and not declared")
        for complaint in complaints("Modest", 40)
    )


def test_a_method_that_the_instance_has_is_not_missing() -> None:
    assert not any("call_soon is missing" in complaint.words for complaint in complaints("Incomplete", 1))


@pytest.mark.full
def test_nothing_is_wrong_with_the_adapter_of_refloop() -> None:
    entry = EntryPoint("refloop", f"{RefloopLoop.__module__}:{RefloopLoop.__name__}", GROUP)
    assert [complaint for complaint in author.look(entry) if complaint.wrong] == []


BUGS = ("LOOP.TURN.SNAPSHOT", "TIMER.FIRE.NOT_AFTER_CANCEL", "WAKE.POST.NOT_LOST")


@pytest.mark.full
def test_the_walk_through_ends_with_the_three_bugs_of_the_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    entry = EntryPoint("toy", "toy_adapter:ToyLoop", GROUP)
    assert list(author.look(entry)) == []  # as the walk-through shows it
    make: MakeLoop = entry.load()
    with hand() as other, Isolated(entry.value) as isolated:
        judged = Campaign(
            "toy", make, select(["LOOP.TURN", "TIMER.FIRE", "WAKE.POST"]), other, isolated=isolated
        )
        judged.look(300, 1, lambda _: None)
    found = judged.result().clauses.values()
    assert {entry.clause for entry in found if entry.verdict is Verdict.FAIL} == set(BUGS)
    walk_through = (EXAMPLES.parent / "docs" / "adapters.md").read_text()
    assert all(f"**{id}**" in walk_through for id in BUGS)
