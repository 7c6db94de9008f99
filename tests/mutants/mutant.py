"""What a mutant is: data, so that whoever applies it, lists it or tells of it reads the same thing."""

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
