"""The comparison itself: enough calls, every clause often enough, and a disagreement told well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import loopspec.epoll
import loopspec.fd  # noqa: F401  # fill the register
from loopspec.clause import Profile, register
from loopspec.conformance import live
from loopspec.conformance.live import Report, compare, replay
from loopspec.conformance.machine import Ask, Machine
from loopspec.kernel.calls import Call, Close, Count, Dup, GetError, Opened, OpenEvent, OpenPair, Read, Result
from tests.kernel.asking import n

FLOOR = 100
QUICK, FULL = 20_000, 120_000

MODEL_CLAUSES = sorted(
    id
    for id, entry in register().items()
    if entry.profile is Profile.KERNEL and entry.rule.__module__.startswith("loopspec.kernel.")
)


def told(report: Report) -> str:
    found = report.disagreement
    return f"seed {report.seed}: {found.observed}\n{found.script}" if found else ""


@pytest.fixture(scope="module")
def quick() -> Report:
    return compare(QUICK, seed=20260)


def test_the_live_kernel_keeps_to_the_model(quick: Report) -> None:
    assert not quick.disagreement, told(quick)
    assert quick.calls >= QUICK


def test_every_clause_of_the_model_fires_often_enough(quick: Report) -> None:
    rare = {id: quick.fired[id] for id in MODEL_CLAUSES if quick.fired[id] < FLOOR}
    assert not rare, f"seed {quick.seed}"
    assert quick.fired == quick.agreed


def test_what_fires_is_a_clause(quick: Report) -> None:
    assert set(quick.fired) <= set(register())


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, 2])
def test_the_live_kernel_keeps_to_the_model_in_many_calls(seed: int) -> None:
    report = compare(FULL, seed)
    assert not report.disagreement, told(report)


def test_equal_seeds_ask_equal_calls() -> None:
    first, second = compare(1_000, seed=5), compare(1_000, seed=5)
    assert (first.calls, first.sequences, first.fired) == (second.calls, second.sequences, second.fired)


# --- a disagreement ---------------------------------------------------------------------------------------


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(2) as ready:
        yield ready


def test_a_disagreement_is_made_short_and_told_as_a_script(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a kernel whose dup gives no number, all but what shows it is left out."""
    calls: list[Call] = [OpenPair(), OpenEvent(), GetError(n(0)), Close(n(0)), Close(n(1)), Dup(n(2))]
    honest = machine.hands.make

    def wrong(ask: Ask) -> Result:
        result = honest(ask)
        return Count(7) if isinstance(ask.call, Dup) and isinstance(result, Opened) else result

    monkeypatch.setattr(machine.hands, "make", wrong)
    found = replay(machine, calls)
    assert found is not None
    shortest = live.minimised(machine, found)
    assert shortest.calls == (OpenPair(), OpenEvent(), Dup(n(2)))
    assert "Count(value=7)" in shortest.observed
    compile(shortest.script, "disagreement.py", "exec")


def test_a_call_that_would_hang_the_driver_is_not_made(machine: Machine) -> None:
    assert replay(machine, [OpenPair(), Read(n(0), 1)]) is None
