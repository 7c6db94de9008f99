"""Results on file, read back: several campaigns become one report.

A loop is judged under one interpreter at a time, and a matrix wants many: each campaign writes what it found
with ``--json``, and whoever makes the matrix reads the files. What is written is
:func:`loopspec.conformance.report.as_json`; what a file says of a clause counts only if the clause still
stands as it was judged, so a digest that has changed is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from loopspec.clause import Clause
from loopspec.conformance.adapter import Deviation
from loopspec.conformance.report import JSON_FORMAT
from loopspec.conformance.result import Accident, ClauseResult, Counterexample, LoopResult, UsageError
from loopspec.conformance.setting import Setting
from loopspec.judge import Verdict, Violation
from loopspec.trace import TraceError, decode


class Record(NamedTuple):
    """One file: its campaign's setting, and its results."""

    setting: Setting
    results: Mapping[str, LoopResult]


class _BadError(ValueError):
    """What is wrong with the file, without its name."""


def parse(text: str, name: str, clauses: Sequence[Clause]) -> Record:
    """What a file holds whose ``text`` is this. Raises :class:`UsageError`, in the ``name`` of the file."""
    try:
        return _record(_object(json.loads(text)), {entry.id: entry for entry in clauses})
    except (ValueError, KeyError, TypeError, TraceError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"{name}: {told}; give a file that `loopspec check --json` of this version wrote"
        ) from None


def merged(records: Sequence[Record]) -> Record:
    """All records as one, in the setting of the first; a loop met twice is told apart by its interpreter."""
    names = [name for record in records for name in record.results]
    results: dict[str, LoopResult] = {}
    for record in records:
        for name, loop in record.results.items():
            column = name if names.count(name) == 1 else f"{name} on {record.setting.python}"
            if column in results:
                raise UsageError(f"{column} is judged in two of the files: give one of them")
            results[column] = loop
    first = records[0].setting
    pythons = ", ".join(dict.fromkeys(record.setting.python for record in records))
    return Record(
        Setting(first.loopspec, pythons, first.system, first.date, first.seed, first.examples), results
    )


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _BadError(f"{str(value)[:40]!r} where an object is expected")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _BadError(f"{str(value)[:40]!r} where a text is expected")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise _BadError(f"{str(value)[:40]!r} where a number is expected")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _BadError(f"{str(value)[:40]!r} where a list is expected")
    return value


def _record(members: dict[str, object], clauses: Mapping[str, Clause]) -> Record:
    if members.get("loopspec-results") != JSON_FORMAT:
        raise _BadError(f"no results of format {JSON_FORMAT}")
    for id, entry in _object(members["clauses"]).items():
        digest = _text(_object(entry)["digest"])
        if id in clauses and clauses[id].digest != digest:
            raise _BadError(f"{id}@{digest} has changed since, it is {clauses[id].citation} now")
    setting = Setting(
        _text(members["loopspec"]),
        _text(members["python"]),
        _text(members["system"]),
        _text(members["date"]),
        None if members["seed"] is None else _whole(members["seed"]),
        None if members["examples"] is None else _whole(members["examples"]),
    )
    loops = _object(members["loops"])
    return Record(setting, {name: _loop(name, _object(loop), clauses) for name, loop in loops.items()})


def _loop(name: str, members: dict[str, object], clauses: Mapping[str, Clause]) -> LoopResult:
    return LoopResult(
        name,
        _text(members["version"]),
        _whole(members["scenarios"]),
        {
            id: _clause(id, _object(entry))
            for id, entry in _object(members["clauses"]).items()
            if id in clauses
        },
        None if members["trouble"] is None else _text(members["trouble"]),
        {id: _whole(count) for id, count in _object(members["unrepeated"]).items()},
        None if members["absent"] is None else _text(members["absent"]),
        tuple(_accident(_object(accident)) for accident in _list(members["accidents"])),
    )


def _accident(members: dict[str, object]) -> Accident:
    words = tuple(map(_text, _list(members["scenario"])))
    return Accident(_text(members["words"]), _whole(members["count"]), _text(members["token"]), words)


def _clause(id: str, members: dict[str, object]) -> ClauseResult:
    example = members["counterexample"]
    return ClauseResult(
        id,
        Verdict(_text(members["verdict"])),
        _whole(members["exercised"]),
        _whole(members["broken"]),
        None if example is None else _counterexample(id, _object(example)),
        None if members["deviation"] is None else _deviation(_object(members["deviation"])),
        None if members["share"] is None else _share(members["share"]),
    )


def _deviation(members: dict[str, object]) -> Deviation:
    return Deviation(_text(members["link"]), _text(members["line"]))


def _share(value: object) -> float:
    if not isinstance(value, int | float):
        raise _BadError(f"{str(value)[:40]!r} where a share is expected")
    return float(value)


def _counterexample(id: str, members: dict[str, object]) -> Counterexample:
    events = tuple(decode(json.dumps(event)) for event in _list(members["trace"]))
    position = _whole(members["position"])
    if not 0 <= position < len(events):
        raise _BadError(f"event {position} of a trace of {len(events)}")
    found = Violation(id, position, events[position], _text(members["allowed"]), _text(members["observed"]))
    words = tuple(map(_text, _list(members["scenario"])))
    return Counterexample(found, events, _text(members["token"]), words)
