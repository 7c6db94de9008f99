"""Which tests say nothing of a compiled refloop: they are about its source, or about words that are mypyc's.

Where refloop is the interpreter's, none is left out. Where it is compiled (``make compiled-suite``), those
named here are, and the run says so before it begins, with their number and the reasons. One that is not there
any more stops a run of the whole suite: no rule outlives its reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Final

import refloop.tasks

LEFT_OUT: Final = {
    "tests/refloop/test_every_operation.py::test_every_public_operation_is_among_them": (
        "it finds async functions by their code objects, which compiled ones have not"
    ),
    "tests/refloop/test_timers.py::test_a_delay_that_is_negative_or_no_whole_number_is_refused": (
        "mypyc sees a float before refloop does, and refuses it in words of its own"
    ),
    "tests/spec/test_crosshair.py::test_each_listed_contract_is_confirmed_over_all_paths[refloop.tasks]": (
        "CrossHair follows the interpreter, and confirms these of the source"
    ),
}
"""By the name of the test, or of one case of it, why a compiled refloop cannot be asked it."""


def is_compiled() -> bool:
    """Whether the refloop that is imported here is the compiled one."""
    return (refloop.tasks.__file__ or "").endswith(tuple(EXTENSION_SUFFIXES))


def header(left_out: Mapping[str, str]) -> list[str]:
    """What a run says of ``left_out`` before it begins."""
    lines = [f"compiled: refloop is {refloop.tasks.__file__}; {len(left_out)} tests are left out:"]
    return [*lines, *(f"  {test.partition('::')[2]}: {reason}" for test, reason in left_out.items())]


def outlived(left_out: Mapping[str, str], tests: Collection[str]) -> Iterator[str]:
    """A complaint for each of ``left_out`` that is none of ``tests``."""
    for test in left_out:
        if test not in tests:
            yield f"tests/compiled.py leaves out {test}, and there is none"
