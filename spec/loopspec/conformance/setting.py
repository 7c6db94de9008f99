"""What a campaign depended on: a report that does not say so cannot be compared with another."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime

import loopspec


@dataclass(frozen=True)
class Setting:
    """Versions, seed and size of a campaign, and the day (UTC, ISO 8601) on which it was run.

    ``seed`` and ``examples`` are None for a replay, which draws nothing.
    """

    loopspec: str
    python: str
    system: str
    date: str
    seed: int | None
    examples: int | None

    @property
    def parts(self) -> tuple[str, ...]:
        """The same in words, a fact each."""
        drawn = () if self.seed is None else (f"seed {self.seed}",)
        size = () if self.examples is None else (f"{self.examples:,} examples a loop",)
        return (f"loopspec {self.loopspec}", *drawn, *size, f"Python {self.python}", self.system)


def here(seed: int | None, examples: int | None) -> Setting:
    """The setting of a campaign that runs in this process, today."""
    return Setting(
        loopspec.__version__,
        platform.python_version(),
        f"{platform.system()} {platform.release()}",
        datetime.now(UTC).date().isoformat(),
        seed,
        examples,
    )
