"""Mutants of the pool of workers: how blocking work comes back to the loop, or stops it after all."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

WORKERS = "impl/refloop/workers.py"

WORK_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="work-caller-runs",
        clause="WORK.BLOCKING.ONLY_ON_WORKERS",
        path=WORKERS,
        old="        self._queue.put(job)\n",
        new="""        if len(self._open) > self.size and job.claim():
            job.run()
            self.reactor.call_soon(self._ended, job)
        self._queue.put(job)
""",
        story="If no worker is free, the caller does the job itself, and the caller is the loop.",
    ),
    Mutant(
        name="work-first-job-at-once",
        clause="WORK.BLOCKING.ONLY_ON_WORKERS",
        path=WORKERS,
        old="        self._queue.put(job)\n",
        new="""        if not self.threads and not self._asking and job.claim():
            job.run()
            self.reactor.call_soon(self._ended, job)
            return job
        self._queue.put(job)
""",
        story="As long as there is no worker the caller does the job itself: it may be the only one.",
    ),
    Mutant(
        name="work-worker-delivers",
        clause="WORK.RESULT.ON_LOOP_THREAD",
        path=WORKERS,
        old="                    self.reactor.call_soon_threadsafe(self._ended, job)\n",
        new="                    self._ended(job)\n",
        story="The worker calls back by itself, as concurrent.futures does, on its own thread.",
    ),
    Mutant(
        name="work-result-wakes-nobody",
        clause="WORK.RESULT.ON_LOOP_THREAD",
        path=WORKERS,
        old="                    self.reactor.call_soon_threadsafe(self._ended, job)\n",
        new="""                    handle = __import__("refloop.reactor").reactor.Handle
                    self.reactor.ready.append(handle(self._ended, (job,), self.reactor))
""",
        story="A worker queues its result and does not wake the loop, which sleeps on it.",
    ),
    Mutant(
        name="work-submit-starts-thread",
        clause="WORK.SUBMIT.NEVER_SUSPENDS",
        path=WORKERS,
        old="        start_new_thread(self._start_worker, (self.threads, started))\n",
        new="        self._start_worker(self.threads, started)\n",
        story="Submitting starts a thread and waits until it runs.",
    ),
    Mutant(
        name="work-handler-level-triggered",
        clause="WORK.HANDLER.ONE_PER_CONNECTION",
        path=WORKERS,
        old="            resource, direction, self._fire, Mode.ONE_SHOT\n",
        new="            resource, direction, self._fire, Mode.LEVEL\n",
        story="The descriptor is level-triggered, and so reported again while a worker is still at it.",
        report="https://github.com/boostorg/asio/issues/300",
    ),
    Mutant(
        name="work-handler-edge-triggered",
        clause="WORK.HANDLER.ONE_PER_CONNECTION",
        path=WORKERS,
        old="            resource, direction, self._fire, Mode.ONE_SHOT\n",
        new="            resource, direction, self._fire, Mode.EDGE\n",
        story="The descriptor is edge-triggered, and what comes while a worker is at it is an edge, too.",
    ),
    Mutant(
        name="work-thread-per-job",
        clause="WORK.POOL.BOUNDED",
        path=WORKERS,
        old="        if self.threads < min(len(self._open), self.size):\n",
        new="        if self.threads < len(self._open):\n",
        story="Every job that finds no thread gets one: a slow disk fills the process with threads.",
    ),
    Mutant(
        name="work-last-in-first-out",
        clause="WORK.POOL.BOUNDED",
        path=WORKERS,
        old="from queue import SimpleQueue\n",
        new="from queue import LifoQueue as SimpleQueue\n",
        story="The queue of jobs is a stack.",
    ),
    Mutant(
        name="work-waits-for-itself",
        clause="WORK.POOL.NO_SELF_DEADLOCK",
        path=WORKERS,
        old="""            if len(self._asking) >= self.size:
                raise _deadlock(self.size)
""",
        new="",
        story="A job waits for the loop, which waits for a job that only the same worker could do.",
        report="https://docs.python.org/3/library/concurrent.futures.html#threadpoolexecutor",
    ),
    Mutant(
        name="work-cancel-frees-worker",
        clause="WORK.CANCEL.KEEPS_WORKER_BUSY",
        path=WORKERS,
        old="""        if not self.claim():
            return False
        self.workers.forget(self)
""",
        new="""        if not self.claim():
            self.workers.size += 1
            return False
        self.workers.forget(self)
""",
        story="Who gives up on a call that hangs takes its worker for lost, and lets another take its place.",
    ),
    Mutant(
        name="work-error-without-traceback",
        clause="WORK.ERROR.PROPAGATES",
        path=WORKERS,
        old="            self._error = error\n            del self  # which",
        new="            self._error = error.with_traceback(None)\n            del self  # which",
        story="The error comes without its traceback, so as not to keep the frames of the job alive.",
    ),
)
