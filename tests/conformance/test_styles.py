"""One handler in three styles, before the same clients; and those clients may do anything, in any order."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from loopspec.clause import select
from loopspec.conformance import servers
from loopspec.conformance.servers import Script, Styles
from loopspec.judge import Judge, Verdict
from loopspec.trace import (
    Connect,
    Crash,
    Free,
    HalfClose,
    Hold,
    Leave,
    Reset,
    Send,
    Shown,
    StopReading,
)
from tests.mutants.hunt import ROOT, mutate
from tests.mutants.mutant import Mutant
from tests.mutants.server import STYLE_MUTANTS

STYLE = select(["CORO.STYLE.SAME_EFFECT"])
SHOWS = frozenset({"Shown"})
EXAMPLES = 60
SEED = 1


@contextmanager
def styles(implementation: Path = ROOT / "impl") -> Iterator[Styles]:
    commands = {name: (sys.executable, "-m", "refloop.servers", name) for name in servers.STYLES}
    with Styles(commands, {**os.environ, "PYTHONPATH": str(implementation)}) as three:
        yield three


@pytest.mark.full
@pytest.mark.clause("CORO.STYLE.SAME_EFFECT", "9815bcc9")
def test_a_handler_shows_its_clients_the_same_in_every_style_under_drawn_scripts() -> None:
    judge = Judge(STYLE, SHOWS)
    with styles() as three:
        assert list(servers.look(three, judge, EXAMPLES, SEED)) == []
    (finding,) = judge.findings.values()
    assert finding.verdict is Verdict.PASS
    assert finding.exercised > EXAMPLES


@pytest.mark.full
@pytest.mark.parametrize("mutant", STYLE_MUTANTS, ids=lambda mutant: mutant.name)
def test_the_scripts_kill_what_differs_in_one_style(mutant: Mutant, tmp_path: Path) -> None:
    mutate(mutant, tmp_path)
    with styles(tmp_path) as three:
        found = next(servers.look(three, Judge(STYLE, SHOWS), 10 * EXAMPLES, SEED), None)
        assert found is not None
        assert servers.made_small(three, found, STYLE[0]) is not None
    with styles() as sound:
        assert servers.breaks(sound, found.script, STYLE[0]) is None


@pytest.mark.clause("CORO.STYLE.SAME_EFFECT", "9815bcc9")
def test_what_is_told_is_all_that_each_client_was_shown_by_each() -> None:
    script: Script = (Connect(0, False), Connect(1, False), Send(0, b"echo a\nwhat"), HalfClose(0))
    with styles() as three:
        shown = three.play(script)
    assert shown == tuple(
        told
        for style in ("coroutine", "callbacks", "thread")
        for told in (Shown(style, 0, b"a\n", ended=True), Shown(style, 1, b"", ended=False))
    )


# --- anything, in any order -------------------------------------------------------------------------------

ACTS = (Send, StopReading, HalfClose, Leave, Reset)
LAST = (Leave, Reset)


def drawn(count: int) -> list[Script]:
    found: list[Script] = []

    @hypothesis.seed(SEED)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(servers.scripts())
    def draw(script: Script) -> None:
        found.append(script)

    draw()
    return found


def followed(script: Script) -> Iterator[tuple[type, type]]:
    """Which act of a client came right after which of its own; the first comes after its connecting."""
    acts: dict[int, list[type]] = {}
    for act in script:
        if not isinstance(act, Hold | Free | Crash):
            acts.setdefault(act.stream, []).append(type(act))
    for mine in acts.values():
        yield from pairwise(mine)


@pytest.mark.clause("ENV.PEER.ARBITRARY", "a3a0344d")
def test_drawn_clients_do_everything_in_every_order_and_say_nothing_too() -> None:
    """Nothing is assumed of a client; so what is drawn must leave out nothing, or something would be."""
    scripts = drawn(600)
    pairs = Counter(pair for script in scripts for pair in followed(script))
    able = set(product((Connect, *(act for act in ACTS if act not in LAST)), ACTS))
    twice = {(HalfClose, HalfClose), (StopReading, StopReading)}  # which is once
    assert able - twice - pairs.keys() == set()
    silent = sum(
        {act.stream for act in script if isinstance(act, Connect)}
        > {act.stream for act in script if isinstance(act, Send)}
        for script in scripts
    )
    assert silent > len(scripts) // 20
