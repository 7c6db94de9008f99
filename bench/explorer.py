"""The explorer's own speed: what it measures is what ``loopspec explore --untraced`` runs, and no other way.

The scope is an echo server with three clients; schedules are drawn, nobody judges. When the clock starts, so
many have been played that the model knows nearly all of its states, as it does in a search of any length.
Each round has a seed of its own, and its time is the process's own, so that it means something on a busy
machine as well.
"""

from __future__ import annotations

from typing import Final

from loopspec.conformance.exploration import Request, explore
from loopspec.conformance.explorer import Budget
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scopes import SMALL

SCOPE: Final = "three-clients"
SCHEDULES: Final = 5_000
WARM_UP: Final = 500


def seconds_a_schedule(rounds: int, schedules: int) -> list[float]:
    """Processor time a schedule, user and kernel, in seconds; one figure a round."""
    _played(0, WARM_UP)
    return [_played(seed, schedules) for seed in range(1, rounds + 1)]


def _played(seed: int, schedules: int) -> float:
    request = Request(SMALL[SCOPE], ("random",), seed, (), untraced=True)
    found = explore(RefloopLoop, request, Budget(None, schedules))
    assert not found.failures
    return found.seconds / found.played
