"""The register: every clause of the specification, and how it is cited.

A clause is a rule in code. The decorator :func:`clause` takes that rule's docstring as the normative
sentence and enters it here with its id, level, kind, profile and source, so that sentence and rule
cannot drift apart: they are one object. What has no rule has no entry.

An id is words, never a number, and is never reused. Because a sentence may be mended, a citation pins
what it cites with a digest, the first eight hex digits of SHA-256 over id, level, kind, profile and
sentence: ``TIMER.FIRE.NEVER_EARLY@1f00c2d4``. A test that pins a digest goes stale, loudly, when the
sentence that it was written against changes.

A rule is one of two things. A *monitor* (see :mod:`loopspec.judge`) reads traces and says whether a run
kept the clause; it is registered with ``watches``, the events it cannot do without, and ``also``, the
events it reads where the loop shows them. A *model rule* is a function of
the kernel model or a theorem about it, and reads no trace. The register does not care which.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from typing import TypeAlias, TypeVar

Slice: TypeAlias = str | Callable[..., Iterable[object]] | None
"""Which slices of a trace an event belongs to: the one that an attribute of it names, the whole trace
(None), every slice that is open (``"*"``), or those that a function of the event gives."""

RuleT = TypeVar("RuleT", bound=Callable[..., object])

#: The modules whose import fills the register, one an area of the specification.
AREAS = (
    *("call", "fd", "stream", "epoll", "loop", "timer", "wake", "work", "rpc"),
    *("coro", "cancel", "prim", "fair", "flow", "server", "env"),
)


class Level(Enum):
    """How strongly a clause binds (RFC 2119)."""

    MUST = "MUST"
    SHOULD = "SHOULD"


class Kind(Enum):
    """What sort of statement a clause is."""

    DEF = "def"  #: a definition that classifies
    STEP = "step"  #: what a transition does
    ERROR = "error"  #: which errors are allowed
    INV = "inv"  #: true in every reachable state, or of every trace
    BOUND = "bound"  #: liveness made finite
    WITNESS = "witness"  #: such a thing exists, and a test shows one
    ASSUME = "assume"  #: asked of the environment


class Profile(Enum):
    """Whom a clause binds."""

    KERNEL = "kernel"
    LOOP = "loop"
    ASYNC = "async"
    POOL = "pool"
    RPC = "rpc"
    SERVER = "server"


class ClauseError(ValueError):
    """A clause that cannot be registered, or a selector or citation that names none."""


@dataclass(frozen=True)
class Clause:
    """One entry of the register.

    ``watches`` maps the event types that the rule cannot do without to the :data:`Slice` of the trace that
    the event belongs to, and ``also`` those that it reads where they are shown; both are empty for a rule
    that reads no trace. ``opens`` names the types that alone lead a rule out of its first state, so that it
    need not read what has none of them; None where any of them may.
    """

    id: str
    level: Level
    kind: Kind
    profile: Profile
    sentence: str
    source: str
    rule: Callable[..., object]
    watches: Mapping[type, Slice] = field(default_factory=dict, compare=False)
    also: Mapping[type, Slice] = field(default_factory=dict, compare=False)
    opens: frozenset[type] | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """The first 8 hex digits of SHA-256 over id, level, kind, profile and sentence, a line each."""
        text = "\n".join((self.id, self.level.value, self.kind.value, self.profile.value, self.sentence))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def citation(self) -> str:
        """How a text cites this clause as it now stands: ``ID@digest``."""
        return f"{self.id}@{self.digest}"

    @property
    def area(self) -> str:
        """The first word of the id: the area, and the module, that the clause lives in."""
        return self.id.partition(".")[0]


_ID = re.compile(r"[A-Z]+(_[A-Z]+)*(\.[A-Z]+(_[A-Z]+)*){2}")
_REGISTER: dict[str, Clause] = {}


def clause(
    id: str,
    level: Level,
    kind: Kind,
    profile: Profile,
    *,
    source: str,
    watches: Mapping[type, Slice] | None = None,
    also: Mapping[type, Slice] | None = None,
    opens: Iterable[type] | None = None,
) -> Callable[[RuleT], RuleT]:
    """Register the decorated function or class as the rule of clause ``id``; its docstring is the sentence.

    Raises :class:`ClauseError` for an id that is not ``AREA.TOPIC.NAME`` in capitals, is taken already,
    or whose rule has no docstring.
    """
    if not _ID.fullmatch(id):
        raise ClauseError(f"{id!r} is no clause id: three words in capitals, joined by dots, are wanted")

    def register(rule: RuleT) -> RuleT:
        if id in _REGISTER and _REGISTER[id].rule.__qualname__ != rule.__qualname__:
            raise ClauseError(f"clause {id} is registered twice: by {_REGISTER[id].rule!r} and by {rule!r}")
        sentence = " ".join(inspect.cleandoc(rule.__doc__ or "").split())
        if not sentence:
            raise ClauseError(f"clause {id} has no sentence: give its rule {rule.__qualname__} a docstring")
        _REGISTER[id] = Clause(
            id,
            level,
            kind,
            profile,
            sentence,
            source,
            rule,
            watches or {},
            also or {},
            None if opens is None else frozenset(opens),
        )
        return rule

    return register


def register() -> Mapping[str, Clause]:
    """The whole register, by id, in the order of areas and then of definition."""
    for area in AREAS:
        import_module(f"loopspec.{area}")
    order = {area.upper(): place for place, area in enumerate(AREAS)}
    return dict(sorted(_REGISTER.items(), key=lambda entry: order.get(entry[1].area, len(order))))


def select(selectors: Iterable[str] = ()) -> tuple[Clause, ...]:
    """The clauses that any of the ``selectors`` names: an id, or a prefix of whole words of one.

    ``TIMER`` and ``TIMER.FIRE`` select; ``TIM`` does not. No selector selects everything. Raises
    :class:`ClauseError` for a selector that names no clause.
    """
    entries = register()
    chosen: set[str] = set()
    asked = tuple(selectors)
    for selector in asked:
        named = {id for id in entries if id == selector or id.startswith(selector + ".")}
        if not named:
            raise ClauseError(f"no clause is named {selector!r}: `loopspec clauses` lists them all")
        chosen |= named
    return tuple(entry for id, entry in entries.items() if not asked or id in chosen)
