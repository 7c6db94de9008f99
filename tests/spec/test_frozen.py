"""A map and a sorted sequence are values: whatever is made of them, they stay what they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loopspec.frozen import Map, Sorted, replace
from loopspec.frozen import value as frozen

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
        assert all(version[key] == value for key, value in entries.items())
        assert dict(version.items()) == entries
        assert [version.get(key) for key in range(6)] == [entries.get(key) for key in range(6)]
        assert (len(version), version == Map(entries), hash(version)) == (
            len(entries),
            True,
            hash(Map({**entries})),
        )


def test_what_an_older_map_holds_is_looked_up_in_that_one() -> None:
    older = Map({0: "a"})
    newer = older.put(0, "b")
    assert (older[0], newer[0], older[0]) == ("a", "b", "a")


def test_a_value_is_told_by_its_fields_has_no_others_and_gives_another() -> None:
    @frozen
    class Point:
        x: int = 0
        y: int = 0

    one, same, other = Point(1, 2), Point(1, 2), Point(1, 3)
    assert one == same != other
    assert {one, same, other} == {one, other}
    assert not hasattr(one, "__dict__")
    assert (replace(one, y=3), replace(one, x=0, y=0), one) == (other, Point(), same)


def test_dropping_what_is_not_there_gives_the_same_map() -> None:
    some = Map({1: 2})
    assert some.drop(3) is some
    assert some.drop_all([3, 4]) is some


def test_adding_leaves_what_is_there() -> None:
    assert Map({1: 2}).add([1, 3], 9) == Map({1: 2, 3: 9})


@given(CHANGES)
def test_every_version_of_a_sorted_sequence_keeps_its_items(
    changes: list[tuple[int, int, int | None]],
) -> None:
    """Each change is made to some earlier version; all versions are then read, in both orders."""
    versions: list[tuple[Sorted[tuple[int]], set[tuple[int]]]] = [(Sorted(), set())]
    for which, item, goes in changes:
        version, items = versions[which % len(versions)]
        if goes is None:
            versions.append((version.drop((item,)), items - {(item,)}))
        else:
            versions.append((version.put((item,)), items | {(item,)}))
    for version, items in (*versions, *versions[::-1]):
        assert list(version) == sorted(items)
        assert (len(version), version.first) == (len(items), min(items, default=None))
        assert version.before((3,)) == [one for one in sorted(items) if one < (3,)]
        same: Sorted[tuple[int]] = Sorted()
        for one in items:
            same = same.put(one)
        assert (version, hash(version)) == (same, hash(same))


def test_a_sorted_sequence_that_is_not_changed_is_the_same() -> None:
    empty: Sorted[tuple[int]] = Sorted()
    some = empty.put((1,))
    assert some.put((1,)) is some
    assert some.drop((2,)) is some
    assert list(empty) == []


def test_containers_of_other_entries_are_others_and_are_told_apart_by_their_hash() -> None:
    maps = [Map(dict.fromkeys(range(size))) for size in range(8)]
    sequences = [Sorted[tuple[int, ...]]()]
    for number in range(7):
        sequences.append(sequences[-1].put((number,)))
    assert all((one == other) == (one is other) for one in maps for other in maps)
    assert all((one == other) == (one is other) for one in sequences for other in sequences)
    assert len({*map(hash, maps)}) == len({*map(hash, sequences)}) == 8
    assert all(each != 0 for each in (*maps, *sequences))
