"""Scenarios for a test to run, the same ones every time."""

from __future__ import annotations

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from loopspec.conformance.scenario import Scenario


def drawn(scenarios: SearchStrategy[Scenario], count: int, *, seed: int) -> list[Scenario]:
    """``count`` scenarios that Hypothesis draws under ``seed``."""
    found: list[Scenario] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios)
    def draw(scenario: Scenario) -> None:
        found.append(scenario)

    draw()
    return found
