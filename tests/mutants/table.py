"""The mutants: named changes of the code, each of which breaks a clause and must be caught.

A clause that nothing can break says nothing, and a scenario that catches no mutant tests nothing. Each
mutant here is one plausible slip, made once by somebody where `report` links to it, applied to one
place of one file. It counts as killed only when the generated scenarios find it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """Replace ``old``, which occurs exactly once in the file ``path`` (relative to the repository's root), by
    ``new``: clause ``clause`` then breaks. ``story`` tells the slip in a sentence; ``report`` is a link to
    where it happened, if it is known to have."""

    name: str
    clause: str
    path: str
    old: str
    new: str
    story: str
    report: str | None = None


MUTANTS: tuple[Mutant, ...] = ()
