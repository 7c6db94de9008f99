"""The mutants: named changes of the code, each of which breaks a clause and must be caught.

A clause that nothing can break says nothing, and a scenario that catches no mutant tests nothing. Each
mutant here is one plausible slip, made once by somebody where ``report`` links to it, applied to one
place of one file. It counts as killed only when the generated scenarios find it.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...] = ()
