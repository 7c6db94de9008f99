"""Scenarios are values: they survive their token, and a token that tells none is refused in one line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopspec.conformance.families import FAMILIES
from loopspec.conformance.result import UsageError
from loopspec.conformance.scenario import (
    At,
    HalfClose,
    Later,
    Scenario,
    Send,
    in_words,
    scenario_of,
    token_of,
)

SCENARIOS = st.one_of(*(family.scenarios for family in FAMILIES.values()))
SMALL = Scenario(1, False, False, (Later(2, ()),), (At(1, True, Send(0, 3)), At(0, False, HalfClose(0))))


@settings(max_examples=300)
@given(SCENARIOS)
def test_a_token_tells_its_scenario_and_nothing_else(scenario: Scenario) -> None:
    assert scenario_of(token_of(scenario)) == scenario


@given(SCENARIOS)
def test_a_scenario_is_told_in_as_many_lines_as_it_has_parts(scenario: Scenario) -> None:
    lines = in_words(scenario)
    assert sum(line.startswith("outside:") for line in lines) == len(scenario.script)
    assert sum(line.startswith("inside:  ") and line[9] != " " for line in lines) == len(scenario.program)


def test_words_say_where_an_action_falls() -> None:
    assert in_words(SMALL) == (
        "1 Unix stream",
        "inside:  Later(delay=2)",
        "outside: 1 waits later, while the loop sleeps: Send(client=0, size=3)",
        "outside: between two steps: HalfClose(client=0)",
    )


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "2-" + token_of(SMALL)[2:],
        token_of(SMALL)[:-7],
        "1-eNqrVkpUslIyVKoFAA1-Ajo",
        "1-é",
    ],
    ids=["empty", "no version", "another version", "cut off", "no scenario", "no base64"],
)
def test_a_text_that_is_no_token_is_refused_in_one_line(token: str) -> None:
    with pytest.raises(UsageError) as refused:
        scenario_of(token)
    assert "replay token" in str(refused.value)
    assert "\n" not in str(refused.value)
