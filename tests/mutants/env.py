"""Mutants of the world: a scenario's kernel, clock, handlers or workers that do not do what is asked of them.

What they change is the harness, as far as it is the world that a loop lives in, and no loop. Each breaks one
assumption; ``needed_by`` is a clause that a loop which is as it was can then no longer keep.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.mutant import Mutant

WORLD = "spec/loopspec/conformance/lockstep.py"


@dataclass(frozen=True)
class WorldMutant(Mutant):
    """A mutant of the world, in which ``needed_by`` fails, too."""

    needed_by: str = ""


WORLD_MUTANTS: tuple[WorldMutant, ...] = (
    WorldMutant(
        name="env-clock-is-set-back",
        clause="ENV.CLOCK.MONOTONIC",
        path=WORLD,
        old="        self._snatch_from(batch)\n        self.turn += 1\n",
        new="        self._snatch_from(batch)\n        self.turn += 1\n"
        "        self._now -= TICK * (1 < self.turn < 6)\n",
        story="The clock is the wall's, and now and then somebody sets it back.",
        report="https://github.com/redis/redis/issues/416",
        needed_by="LOOP.IDLE.MEANS_IDLE",
    ),
    WorldMutant(
        name="env-handler-waits-for-ever",
        clause="ENV.HANDLER.TERMINATES",
        path=WORLD,
        old="            case script.Work(duration=duration):\n",
        new="            case script.Work(duration=duration):\n                threading.Event().wait()\n",
        story="A handler waits, on the loop's own thread, for what never comes.",
        needed_by="LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT",
    ),
    WorldMutant(
        name="env-kernel-forgets-the-first",
        clause="ENV.KERNEL.REPORTS",
        path=WORLD,
        old="        return self._epoll.poll(0, maxevents)\n",
        new="        reported = self._epoll.poll(0, maxevents)\n"
        "        return reported[len(reported) > 1 :]\n",
        story="Of all that is ready the kernel forgets to report the first.",
        needed_by="FAIR.READY.BOUNDED_WAIT",
    ),
    WorldMutant(
        name="env-worker-never-done",
        clause="ENV.WORKER.PROGRESSES",
        path=WORLD,
        old="            if not self._script and self._crew.holds and not self._something_is_due(timeout):\n",
        new="            if not self._script and self._crew.holds and timeout == 1:\n",
        story="What a job waits for never comes, and nobody takes it off its worker.",
        needed_by="CALL.ASYNC.SETTLES_ONCE",
    ),
)
