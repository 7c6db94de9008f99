"""Mutants for the clauses of CALL: of the survey, and of refloop.

The kernel cannot be mutated here; what can be wrong is the survey's account of it. Each mutant of the survey
makes the account a plausible wrong one, and the rule has to say so when it judges the survey of the live
kernel. So it is for the clauses that bind the kernel, and for what synchronous means: that a return has
brought the result is in no loop's hands, but is said by whoever tells of the call.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SURVEY = "spec/loopspec/conformance/calls.py"
REACTOR = "impl/refloop/reactor.py"
WAITS = "impl/refloop/waits.py"

SURVEY_MUTANTS: tuple[Mutant, ...] = (
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
        name="call-promise-taken-for-the-result",
        clause="CALL.SYNC.RESULT_AT_RETURN",
        path=SURVEY,
        old="events.append(Return(call, CALLER, self.delivered, self.error))",
        new="events.append(Return(call, CALLER, self.error is None, self.error))",
        story="The future that a submit returns is taken for the result, which comes later and once more.",
    ),
    Mutant(
        name="call-result-announced-again",
        clause="CALL.SYNC.RESULT_AT_RETURN",
        path=SURVEY,
        old="events += [Deliver(call)] * self.later",
        new="events += [Deliver(call)] * (self.later or self.delivered)",
        story="A result that the return has brought is announced as well, for those who have not looked.",
    ),
    Mutant(
        name="call-promise-never-kept",
        clause="CALL.ASYNC.RESULT_AFTER_RETURN",
        path=SURVEY,
        old="events += [Deliver(call)] * self.later",
        new="events += [Deliver(call)] * 0",
        story="A call returns a future, and nobody settles it.",
    ),
    Mutant(
        name="call-mode-never-asked",
        clause="CALL.SYNC.NEED_NOT_BLOCK",
        path=SURVEY,
        old="self.on, self.nonblocking_mode)]\n        if self.blocking:\n",
        new="self.on)]\n        if self.blocking or (self.on is not None and self.delivered):\n",
        story="A monitor asks neither for the mode of a descriptor nor the kernel: what returns has blocked.",
    ),
    Mutant(
        name="call-every-return-is-a-promise",
        clause="CALL.NONBLOCKING.NEED_NOT_BE_ASYNC",
        path=SURVEY,
        old="""self.on, self.nonblocking_mode)]
        if self.blocking:
            events += [Suspend(CALLER), Resume(CALLER)]
        events += [Deliver(call)] * self.inside
        events.append(Return(call, CALLER, self.delivered, self.error))
        events += [Deliver(call)] * self.later
""",
        new="""self.on)]
        events += [Deliver(call)] * self.inside
        events.append(Return(call, CALLER, False, self.error))
        events += [Deliver(call)] * (self.later + self.delivered)
""",
        story="A monitor hears of results from futures alone, and every return is a promise to it.",
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

CALL_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="call-due-timers-dropped",
        clause="CALL.ASYNC.RESULT_AFTER_RETURN",
        path=REACTOR,
        old="""                    timer.fire()
                except Exception as error:
                    self.on_error(error)
""",
        new="""                    timer.fire()
                except Exception as error:
                    self.on_error(error)
                    break
""",
        story="The exception of a timer ends the phase, and what was due with it never fires.",
    ),
    Mutant(
        name="call-failed-callback-retried",
        clause="CALL.ASYNC.SETTLES_ONCE",
        path=REACTOR,
        old="                callback(*self._args)\n            except Exception as error:\n",
        new="""                callback(*self._args)
            except Exception as error:
                self._reactor.call_soon(callback, *self._args)
""",
        story="A callback that has raised is queued once more, in case it goes better then.",
    ),
    Mutant(
        name="call-post-waits-for-room",
        clause="CALL.BLOCKING.IMPLIES_SYNC",
        path=REACTOR,
        old="        if not self._signalled:\n",
        new="""        if len(self.ready) > 256:
            __import__("time").sleep(0.0001)
        if not self._signalled:
""",
        story="Who posts into a long queue is made to wait for it to become shorter.",
    ),
    Mutant(
        name="call-later-rests",
        clause="CALL.BLOCKING.IMPLIES_SYNC",
        path=REACTOR,
        old="        return self.timers.arm(self.clock() + delay, callback, args)\n",
        new="""        if not delay:
            __import__("time").sleep(0.0001)
        return self.timers.arm(self.clock() + delay, callback, args)
""",
        story="Who arms a timer that is due at once is made to wait a moment, so that it is.",
    ),
    Mutant(
        name="call-soon-is-now",
        clause="CALL.CALLBACK.NEVER_INSIDE",
        path=REACTOR,
        old="""        self._mine()
        handle = Handle(callback, args, self)
        self.ready.append(handle)
""",
        new="""        self._mine()
        handle = Handle(callback, args, self)
        if not self.ready:
            handle.run()
            return handle
        self.ready.append(handle)
""",
        story="A callback runs inside the call that queues it, if nothing else is queued.",
    ),
    Mutant(
        name="call-short-sleep-on-the-thread",
        clause="CALL.AWAIT.SUSPENDS_TASK_ONLY",
        path=WAITS,
        old="        self._timer = task.runtime.reactor.call_at(self.deadline, task.wake)\n",
        new="""        reactor = task.runtime.reactor
        if self.deadline - reactor.clock() < 5_000_000:
            __import__("time").sleep(0.0001)
        self._timer = reactor.call_at(self.deadline, task.wake)
""",
        story="What is left of a short sleep is slept on the thread.",
    ),
    Mutant(
        name="call-blocking-again-after-disarm",
        clause="CALL.EAGAIN.INSTEAD_OF_SUSPENSION",
        path=REACTOR,
        old="            self.live = False\n            self._slot.hold(",
        new="""            import os

            self.live = False
            os.set_blocking(self.fd, True)
            self._slot.hold(""",
        story="The end of a registration leaves its descriptor blocking, as descriptors are by default.",
    ),
    Mutant(
        name="call-regular-file-always-ready",
        clause="CALL.REGULAR_FILE.CANNOT_POLL",
        path=REACTOR,
        old="                self._poller.register(fd, mask)\n            except FileExistsError:\n",
        new="""                self._poller.register(fd, mask)
            except PermissionError:
                pass
            except FileExistsError:
""",
        story="That a regular file cannot be registered is passed over in silence.",
    ),
)
