"""A map is a value: whatever is made of it, it stays what it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loopspec.frozen import Map

KEYS = st.integers(0, 5)
CHANGES = st.lists(st.tuples(st.integers(0, 30), KEYS, st.none() | st.integers(0, 9)), max_size=30)


@given(CHANGES)
def test_every_version_of_a_map_keeps_its_entries(changes: list[tuple[int, int, int | None]]) -> None:
    """Each change is made to some earlier version; all versions are then read, in both orders."""
    versions: list[tuple[Map[int, int], dict[int, int]]] = [(Map(), {})]
    for which, key, value in changes:
        version, entries = versions[which % len(versions)]
        if value is None:
            versions.append((version.drop(key), {k: v for k, v in entries.items() if k != key}))
        else:
            versions.append((version.put(key, value), {**entries, key: value}))
    for version, entries in (*versions, *versions[::-1]):
        assert dict(version.items()) == entries
        assert [version.get(key) for key in range(6)] == [entries.get(key) for key in range(6)]
        assert (len(version), version == Map(entries), hash(version)) == (
            len(entries),
            True,
            hash(Map({**entries})),
        )


def test_dropping_what_is_not_there_gives_the_same_map() -> None:
    some = Map({1: 2})
    assert some.drop(3) is some
    assert some.drop_all([3, 4]) is some


def test_adding_leaves_what_is_there() -> None:
    assert Map({1: 2}).add([1, 3], 9) == Map({1: 2, 3: 9})
