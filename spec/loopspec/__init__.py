"""loopspec: the correctness reference for event loops.

The package is the specification itself: :mod:`loopspec.clause` is the register, :mod:`loopspec.trace`
the language in which a run is told, :mod:`loopspec.judge` what reads such a telling and says which
clauses it keeps. Every other module here is one area of the specification and holds its rules. The
instruments that make runs to judge live in :mod:`loopspec.conformance`.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loopspec.watching import watch

__all__ = ["watch"]


def __getattr__(name: str) -> object:
    # The specification is light to import, and stays so for those who do not watch.
    if name == "watch":
        from loopspec.watching import watch

        return watch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
