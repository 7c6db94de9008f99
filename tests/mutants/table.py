"""The mutants: named changes of the code, each of which breaks a clause and must be caught.

A clause that nothing can break says nothing, and a scenario that catches no mutant tests nothing. Each
mutant here is one plausible slip, made once by somebody where ``report`` links to it, applied to one
place of one file. It counts as killed only when the generated scenarios find it.
"""

from __future__ import annotations

from tests.kernel.mutants import KERNEL_MODEL_MUTANTS
from tests.mutants.call import CALL_MUTANTS, SURVEY_MUTANTS
from tests.mutants.cancel import CANCEL_MUTANTS
from tests.mutants.coro import CORO_MUTANTS
from tests.mutants.env import WORLD_MUTANTS
from tests.mutants.fair import FAIR_MUTANTS
from tests.mutants.flow import FLOW_MUTANTS
from tests.mutants.loop import LOOP_MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.prim import PRIM_MUTANTS
from tests.mutants.rpc import RPC_MUTANTS
from tests.mutants.server import SERVER_MUTANTS, STYLE_MUTANTS
from tests.mutants.stream import STREAM_MUTANTS
from tests.mutants.timer import TIMER_MUTANTS
from tests.mutants.wake import WAKE_MUTANTS
from tests.mutants.work import WORK_MUTANTS

__all__ = ["MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...] = (
    *SURVEY_MUTANTS,
    *CALL_MUTANTS,
    *KERNEL_MODEL_MUTANTS,
    *STREAM_MUTANTS,
    *LOOP_MUTANTS,
    *TIMER_MUTANTS,
    *WAKE_MUTANTS,
    *RPC_MUTANTS,
    *WORK_MUTANTS,
    *CORO_MUTANTS,
    *CANCEL_MUTANTS,
    *PRIM_MUTANTS,
    *FAIR_MUTANTS,
    *FLOW_MUTANTS,
    *SERVER_MUTANTS,
    *STYLE_MUTANTS,
    *WORLD_MUTANTS,
)
