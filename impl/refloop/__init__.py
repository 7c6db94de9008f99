"""refloop: a small event loop that is meant to be read, cited, and used.

A reactor (one wait on many descriptors, timers, callbacks, thread-safe posts), coroutines on top of it, with
structured concurrency and level-triggered cancellation, and byte streams. Instants and durations are integer
nanoseconds: ``await sleep(2 * SECOND)``.
"""

from refloop.buffers import BufferedReceiver, BufferedSender
from refloop.cancel import CancelScope, fail_after, fail_at, move_on_after, move_on_at
from refloop.errors import (
    BusyResourceError,
    ClosedReactorError,
    ClosedResourceError,
    DeadlockError,
    DelimiterNotFoundError,
    ForeignThreadError,
    ForkedError,
    IncompleteReadError,
    TaskCancelledError,
    WorkerDeadlockError,
    WouldBlockError,
)
from refloop.generators import checkpoint
from refloop.groups import TaskGroup
from refloop.here import current_reactor, current_runtime, current_task
from refloop.kernel import LINUX, MILLISECOND, SECOND, Kernel, Poller, Waker
from refloop.outcomes import Cancelled, Raised, Returned, WasCancelled
from refloop.primitives import Condition, Lock, Queue, Semaphore
from refloop.reactor import Direction, Handle, Mode, Reactor, Registration
from refloop.runtime import Instrument, Runtime, run
from refloop.streams import (
    Listener,
    SocketStream,
    listen_tcp,
    listen_unix,
    open_tcp,
    open_unix,
    serve,
    serve_tcp,
    serve_unix,
)
from refloop.tasks import State, Task, Trap
from refloop.timers import Timer
from refloop.waits import Event, notify_closing, sleep, sleep_until, wait_readable, wait_writable
from refloop.workers import (
    WORKERS,
    CapacityLimiter,
    Job,
    WorkerRegistration,
    Workers,
    from_thread,
    getaddrinfo,
    read_file,
    to_thread,
)

__all__ = [
    "LINUX",
    "MILLISECOND",
    "SECOND",
    "WORKERS",
    "BufferedReceiver",
    "BufferedSender",
    "BusyResourceError",
    "CancelScope",
    "Cancelled",
    "CapacityLimiter",
    "ClosedReactorError",
    "ClosedResourceError",
    "Condition",
    "DeadlockError",
    "DelimiterNotFoundError",
    "Direction",
    "Event",
    "ForeignThreadError",
    "ForkedError",
    "Handle",
    "IncompleteReadError",
    "Instrument",
    "Job",
    "Kernel",
    "Listener",
    "Lock",
    "Mode",
    "Poller",
    "Queue",
    "Raised",
    "Reactor",
    "Registration",
    "Returned",
    "Runtime",
    "Semaphore",
    "SocketStream",
    "State",
    "Task",
    "TaskCancelledError",
    "TaskGroup",
    "Timer",
    "Trap",
    "Waker",
    "WasCancelled",
    "WorkerDeadlockError",
    "WorkerRegistration",
    "Workers",
    "WouldBlockError",
    "checkpoint",
    "current_reactor",
    "current_runtime",
    "current_task",
    "fail_after",
    "fail_at",
    "from_thread",
    "getaddrinfo",
    "listen_tcp",
    "listen_unix",
    "move_on_after",
    "move_on_at",
    "notify_closing",
    "open_tcp",
    "open_unix",
    "read_file",
    "run",
    "serve",
    "serve_tcp",
    "serve_unix",
    "sleep",
    "sleep_until",
    "to_thread",
    "wait_readable",
    "wait_writable",
]
