"""How a task ends: it returned, it raised, or it was cancelled; and what a cancellation is while it unwinds.

What is matched and what is raised, and nothing that runs. They are ordinary classes of the interpreter in
every build, since exceptions and frozen dataclasses have to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from refloop.cancel import CancelScope

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Returned(Generic[T_co]):
    """The task returned ``value``."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Raised:
    """The task raised ``error``."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class WasCancelled:
    """The task was cancelled, and let the cancellation through."""


Outcome: TypeAlias = Returned[T_co] | Raised | WasCancelled


class Cancelled(BaseException):
    """The task is cancelled; ``scope`` is the cancel scope that will absorb this.

    It derives from BaseException because it is no error that a handler could mend. Let it through.
    """

    def __init__(self, scope: CancelScope) -> None:
        super().__init__("cancelled")
        self.scope = scope
