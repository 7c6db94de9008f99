"""Draws the schedules of the loop vectors anew: ``python -m loopspec.conformance.vectors.draw``.

Wanted when a clause has come that no schedule exercises, or an action has gone that one makes. From what each
family draws, the shortest run that exercises a clause which no run before it has is kept.
"""

from __future__ import annotations

from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from loopspec.clause import register
from loopspec.conformance.families import FAMILIES, Family
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import Scenario, token_of
from loopspec.conformance.vectors.loop import SCHEDULES
from loopspec.judge import Judge
from loopspec.trace import Event

EXAMPLES, LONGEST = 40, 120
"""Scenarios a family, and the most events of a run that is kept."""

Run = tuple[int, str, str, frozenset[str]]


def _runs(name: str, family: Family, other: Hand) -> list[Run]:
    found: list[Run] = []

    @hypothesis.seed(1)
    @settings(
        max_examples=EXAMPLES,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(family.scenarios)
    def one(scenario: Scenario) -> None:
        events: list[Event] = []
        Lockstep(other, scenario, events.append).run(RefloopLoop)
        judge = Judge(register().values(), RefloopLoop.shows)
        judge.read(events)
        exercised = frozenset(id for id, finding in judge.findings.items() if finding.exercised)
        if len(events) <= LONGEST:
            found.append((len(events), name, token_of(scenario), exercised))

    one()
    return found


def main() -> None:
    """Write the file into the package that is imported."""
    with hand() as other:
        runs = [run for name, family in FAMILIES.items() for run in _runs(name, family, other)]
    kept: list[Run] = []
    wanted = frozenset().union(*(run[3] for run in runs))
    while wanted:
        best = max(runs, key=lambda run: (len(run[3] & wanted), -run[0], run[2]))
        kept.append(best)
        wanted -= best[3]
    for name in FAMILIES.keys() - {run[1] for run in kept}:
        kept += sorted(run for run in runs if run[1] == name and run[0] > 20)[:1]
    lines = [
        f"{name} {token}\n" for _, name, token, _ in sorted(kept, key=lambda run: (run[1], run[0], run[2]))
    ]
    Path(__file__).with_name(SCHEDULES).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
