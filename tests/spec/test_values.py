"""The states of rules are values: reading an event makes another, and leaves the one that was."""

from __future__ import annotations

import pytest

from loopspec.clause import Clause, register
from loopspec.frozen import replace, value
from loopspec.judge import Broken, Kept, Monitor
from tests.spec.busy import Busy

_EVENTS = list(Busy(6, 0).events(900))

_WHOLE = [
    entry
    for entry in register().values()
    if entry.watches and all(slice is None for slice in (*entry.watches.values(), *entry.also.values()))
]


@pytest.mark.parametrize("entry", _WHOLE, ids=lambda entry: entry.id)
def test_a_rule_leaves_the_state_that_it_reads_an_event_in(entry: Clause) -> None:
    first: Monitor = entry.rule()  # type: ignore[assignment]
    state = first
    for event in _EVENTS:
        if type(event) not in entry.watches and type(event) not in entry.also:
            continue
        before = hash(state)
        progress = state.after(event)
        assert hash(state) == before
        assert state.after(event) == progress
        after = progress.next if isinstance(progress, Kept | Broken) else progress
        state = first if after is None else after


@value
class _Point:
    x: int
    y: int = 0


def test_a_value_is_equal_and_hashed_by_its_fields() -> None:
    assert (_Point(1), hash(_Point(1))) == (_Point(1, 0), hash(_Point(1, 0)))
    assert _Point(1) != _Point(0, 1)


def test_a_value_has_no_room_for_anything_but_its_fields() -> None:
    assert not hasattr(_Point(1), "__dict__")


def test_a_replacement_differs_in_the_fields_that_are_named_and_leaves_what_it_replaces() -> None:
    point = _Point(1, 2)
    assert replace(point, y=3) == _Point(1, 3)
    assert point == _Point(1, 2)


def test_a_field_that_a_value_does_not_have_is_not_replaced() -> None:
    with pytest.raises(AttributeError, match="z"):
        replace(_Point(1), z=3)  # type: ignore[call-arg]
