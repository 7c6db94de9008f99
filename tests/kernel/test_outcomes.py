"""What the model allows along drawn calls, and by which clauses, as it stands written in ``outcomes.json``.

The live kernel says whether the model allows what it does; it cannot say whether the clauses that a step
names are those that make it so, nor whether the model allows more. Here the model is held to all that it
says of drawn sequences: every result that a call may have, and the ids with each. A change of the model that
is meant to change none of this changes nothing here; one that is meant to is looked at, and written down by
``python -m tests.kernel.test_outcomes``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from loopspec.conformance.drawing import Drawer
from loopspec.kernel import codec
from loopspec.kernel.calls import Call, Outcome
from loopspec.kernel.law import NotModelledError
from loopspec.kernel.state import Limits, State, ThreadId, initial
from loopspec.kernel.step import step

FILE = Path(__file__).with_name("outcomes.json")
SEQUENCES = 60
CALLS = 40
LIMITS = (Limits(short=True), Limits())


def told(outcome: Outcome) -> str:
    return f"{outcome.result} by {sorted(outcome.clauses)}"


def chosen(state: State, call: Call, random: Random) -> Iterator[tuple[Outcome, str]]:
    """Every outcome of ``call``, the one that the world has chosen first."""
    outcomes = sorted(step(state, call), key=lambda each: (told(each), codec.encode(each.state)))
    if outcomes:
        place = random.randrange(len(outcomes))
        for each in (*outcomes[place:], *outcomes[:place]):
            yield each, told(each)


def said(seed: int) -> str:
    """The digest of what the model says of the sequence that ``seed`` draws."""
    random = Random(seed)
    state = initial(3, LIMITS[seed % 2])
    drawer = Drawer(random, (ThreadId(1), ThreadId(2)))
    whole = hashlib.sha256()
    for _ in range(CALLS):
        for call in drawer.next(state):
            try:
                outcomes = list(chosen(state, call, random))
            except NotModelledError:
                whole.update(b"not modelled\n")
                break
            whole.update("".join(f"{line}\n" for _, line in outcomes).encode())
            if not outcomes:
                break
            state = outcomes[0][0].state
    whole.update(codec.encode(state).encode())
    return whole.hexdigest()[:8]


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_what_the_model_says_of_a_drawn_sequence_is_what_stands_written(seed: int) -> None:
    assert said(seed) == json.loads(FILE.read_text(encoding="utf-8"))[seed], (
        "see the docstring of this module"
    )


if __name__ == "__main__":
    FILE.write_text(json.dumps([said(seed) for seed in range(SEQUENCES)]) + "\n", encoding="utf-8")
