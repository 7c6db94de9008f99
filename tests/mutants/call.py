"""Mutants of the survey, for the clauses of CALL that bind the kernel.

The kernel cannot be mutated here; what can be wrong is the survey's account of it. Each of these makes the
account a plausible wrong one, and the rule has to say so when it judges the survey of the live kernel.
"""

from __future__ import annotations

from tests.mutants.table import Mutant

SURVEY = "spec/loopspec/conformance/calls.py"

KERNEL_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="call-returns-asleep",
        clause="CALL.BLOCKING.SUSPENDS_CALLER",
        path=SURVEY,
        old="events += [Suspend(CALLER), Resume(CALLER)]",
        new="events += [Suspend(CALLER)]",
        story="A thread returns from its call while it is said to be suspended in it.",
    ),
    Mutant(
        name="call-returns-twice",
        clause="CALL.NONBLOCKING.IS_COMPLEMENT",
        path=SURVEY,
        old="events.append(Return(call, CALLER, self.delivered, self.error))",
        new="events += [Return(call, CALLER, self.delivered, self.error)] * 2",
        story="A call returns twice, once for its failure and once for its value.",
    ),
    Mutant(
        name="call-every-call-sleeps",
        clause="CALL.SYNC.NEED_NOT_BLOCK",
        path=SURVEY,
        old="return self.typical > 0",
        new="return self.typical >= 0",
        story="A monitor takes every call for blocking, suspended or not.",
    ),
    Mutant(
        name="call-nonblocking-is-asynchronous",
        clause="CALL.NONBLOCKING.NEED_NOT_BE_ASYNC",
        path=SURVEY,
        old='delivered=case.answers and last.error != "EINPROGRESS",',
        new="delivered=case.answers and last.suspensions > 0,",
        story="Nonblocking is mistaken for asynchronous: a call that did not suspend owes its result.",
    ),
    Mutant(
        name="call-descriptor-left-blocking",
        clause="CALL.EAGAIN.INSTEAD_OF_SUSPENSION",
        path=SURVEY,
        old="""        here, there = _pair(stack, nonblocking)
        there.sendall(data)
        if eof:
            there.shutdown(socket.SHUT_WR)
        ready = bool(data) or eof or nonblocking
""",
        new="""        here, there = _pair(stack, nonblocking=False)
        there.sendall(data)
        if eof:
            there.shutdown(socket.SHUT_WR)
        ready = bool(data) or eof
""",
        story="A descriptor that is taken for nonblocking was never set so, and recv suspends its caller.",
    ),
    Mutant(
        name="call-eagain-goes-on",
        clause="CALL.EAGAIN.INSTEAD_OF_SUSPENSION",
        path=SURVEY,
        old='delivered=case.answers and last.error != "EINPROGRESS",',
        new="delivered=case.answers and last.error is None,",
        story="EAGAIN is taken for a promise, as if the kernel went on receiving.",
    ),
    Mutant(
        name="call-file-can-be-polled",
        clause="CALL.REGULAR_FILE.CANNOT_POLL",
        path=SURVEY,
        old="    fd = _file(stack, nonblocking=True)\n    epoll =",
        new="    fd, _writer = _pipe(stack)\n    epoll =",
        story="A pipe is taken for a regular file, and is registered.",
    ),
)
