"""Mutants of the turn and its dispatch: how a loop comes to hand events to the wrong one, or to spin."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

KERNEL = "impl/refloop/kernel.py"
REACTOR = "impl/refloop/reactor.py"
OWNER = "impl/refloop/owner.py"
STREAMS = "impl/refloop/streams.py"

LOOP_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="loop-socket-left-blocking",
        clause="LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT",
        path=STREAMS,
        old="""        socket.setblocking(False)
        self.socket = socket
        self.closed = False
        self._sending""",
        new="""        socket.setblocking(True)
        self.socket = socket
        self.closed = False
        self._sending""",
        story="A stream's socket is left blocking: a full buffer stops the loop, not the task that sends.",
    ),
    Mutant(
        name="loop-rests-before-it-dispatches",
        clause="LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT",
        path=REACTOR,
        old="        slots, turn = self._slots, self.turns\n        fd, rest = -1, iter(batch)\n",
        new="""        slots, turn = self._slots, self.turns
        fd, rest = -1, iter(batch)
        if batch:
            __import__("time").sleep(0.0001)
""",
        story="Between its wait and its handlers the loop rests for a moment, for more to become ready.",
    ),
    Mutant(
        name="loop-runs-until-nothing-is-ready",
        clause="LOOP.TURN.SNAPSHOT",
        path=REACTOR,
        old="        for _ in range(len(ready)):\n",
        new="        while self.ready:\n",
        story="The ready phase goes on as long as there is anything to run, and runs what it queues.",
        report="https://github.com/nodejs/node/pull/4936",
    ),
    Mutant(
        name="loop-timeout-rounded-down",
        clause="LOOP.IDLE.MEANS_IDLE",
        path=KERNEL,
        old="-(-wait // POLLER_UNIT)",
        new="wait // POLLER_UNIT",
        story="The timeout is rounded down to the poller's unit: the loop spins before each timer.",
        report="https://github.com/python/asyncio/issues/106",
    ),
    Mutant(
        name="loop-keeps-interest-nobody-has",
        clause="LOOP.IDLE.MEANS_IDLE",
        path=REACTOR,
        old="            self._drop_unconsumed()\n",
        new="            self._unconsumed.clear()\n",
        story="What is reported and nobody waits for stays in the interest set, and is reported for ever.",
    ),
    Mutant(
        name="loop-dispatches-to-the-newborn",
        clause="LOOP.DISPATCH.LIVE_ONLY",
        path=REACTOR,
        old="""                    holder = slot.reader
                    if holder is None:
                        self._unconsumed.append(slot)
                    elif holder.born < turn:
""",
        new="""                    holder = slot.reader
                    if holder is None:
                        self._unconsumed.append(slot)
                    else:
""",
        story="An event that was meant for a closed descriptor goes to its successor under the same number.",
        report="https://github.com/golang/go/issues/59545",
    ),
    Mutant(
        name="loop-disarms-a-turn-late",
        clause="LOOP.DISPATCH.NOT_AFTER_DISARM",
        path=REACTOR,
        old="""            self.live = False
            self._slot.hold(self.direction, None)
            self._reactor.tell(self._slot, self._slot.wanted())
""",
        new="""            self.live = False
            self._reactor.call_soon(self._slot.hold, self.direction, None)
            self._reactor.call_soon(lambda: self._reactor.tell(self._slot, self._slot.wanted()))
""",
        story="The clean-up of a registration is queued, and comes after the batch that still names it.",
        report="https://github.com/python/cpython/issues/131728",
    ),
    Mutant(
        name="loop-due-timer-fires-in-the-call",
        clause="LOOP.DISPATCH.NOT_NESTED",
        path=REACTOR,
        old="        return self.timers.arm(self.clock() + delay, callback, args)\n",
        new="""        timer = self.timers.arm(self.clock() + delay, callback, args)
        if not delay:
            self._fire_due()
        return timer
""",
        story="A timer that is due when it is armed fires at once, in the midst of the handler that arms it.",
    ),
    Mutant(
        name="loop-queue-is-kept-short",
        clause="LOOP.DISPATCH.NOT_NESTED",
        path=REACTOR,
        old="""        self._mine()
        handle = Handle(callback, args, self)
        self.ready.append(handle)
""",
        new="""        self._mine()
        if self.ready:
            self.ready.popleft().run()
        handle = Handle(callback, args, self)
        self.ready.append(handle)
""",
        story="Before another callback is queued the oldest is run, so that the queue stays short.",
    ),
    Mutant(
        name="loop-drops-who-fails",
        clause="LOOP.HANDLER.ERROR_CONTAINED",
        path=REACTOR,
        old="            handler(events)\n        except Exception as error:\n",
        new="""            handler(events)
        except Exception as error:
            self.disarm()
""",
        story="A handler that raises once is never called again: the application stops accepting.",
        report="https://github.com/twisted/twisted/issues/8907",
    ),
    Mutant(
        name="loop-callbacks-last-in-first-out",
        clause="LOOP.CALLBACK.FIFO",
        path=REACTOR,
        old="""        self._mine()
        handle = Handle(callback, args, self)
        self.ready.append(handle)
""",
        new="""        self._mine()
        handle = Handle(callback, args, self)
        self.ready.appendleft(handle)
""",
        story="A callback is put at the wrong end of the queue.",
    ),
    Mutant(
        name="loop-second-waiter-replaces-the-first",
        clause="LOOP.WAITER.ONE_PER_DIRECTION",
        path=REACTOR,
        old="            raise BusyResourceError(",
        new="            return\n            raise BusyResourceError(",
        story="A second waiter silently replaces the first, which waits for ever.",
        report="https://github.com/python/cpython/issues/91780",
    ),
    Mutant(
        name="loop-close-forgets-its-waiters",
        clause="LOOP.CLOSE.SETTLES_WAITERS",
        path=REACTOR,
        old="        for holder in holders:\n            holder.settle_closed()\n",
        new="        del holders\n",
        story="A descriptor is closed under a task that waits for it, and the task is not told.",
        report="https://github.com/python-trio/trio/pull/460",
    ),
    Mutant(
        name="loop-hang-up-wakes-nobody",
        clause="LOOP.HUP.NEVER_DISCARDS",
        path=REACTOR,
        old="                if events != OUT:  # for",
        new="""                if events & (HUP | ERR):
                    self.tell(slot, 0)
                    continue
                if events != OUT:  # for""",
        story="What hangs up leaves the interest set, lest it spin, and those who wait for it are not told.",
    ),
    Mutant(
        name="loop-half-close-taken-for-the-end",
        clause="LOOP.RDHUP.ENDS_READING_ONLY",
        path=REACTOR,
        old="                if events != OUT:  # for",
        new="""                if events & RDHUP:
                    self._settle_closed(slot)
                    continue
                if events != OUT:  # for""",
        story="RDHUP is mistaken for a full hang-up, and ends the connection in both directions.",
        report="https://github.com/tokio-rs/mio/pull/933",
    ),
    Mutant(
        name="loop-wait-capped-too-low",
        clause="LOOP.WAIT.TIMEOUT",
        path=KERNEL,
        old="POLLER_MAXIMUM: Final = 2**31 - 1\n",
        new="POLLER_MAXIMUM: Final = 2\n",
        story="A cap that was meant against overflow is far too low, and the loop polls its way to a timer.",
    ),
    Mutant(
        name="loop-sleeps-on-what-is-ready",
        clause="LOOP.WAIT.TIMEOUT",
        path=REACTOR,
        old="        if self.ready:\n            return 0\n        deadline",
        new="        if self.ready and not self.timers:\n            return 0\n        deadline",
        story="The wait reaches to the earliest timer although callbacks are queued.",
    ),
    Mutant(
        name="loop-empty-batch-taken-for-the-timeout",
        clause="LOOP.WAIT.EARLY_RETURN_MOVES_NOTHING",
        path=REACTOR,
        old="            batch = self._poll(timeout, self.maxevents)\n",
        new="""            batch = self._poll(timeout, self.maxevents)
            if not batch and timeout and (deadline := self.timers.earliest()) is not None:
                for timer in self.timers.due(deadline):
                    self.call_soon(timer.fire)
""",
        story="A wait that returns with nothing is taken to have lasted, and its timer fires.",
    ),
    Mutant(
        name="loop-disarms-by-number",
        clause="LOOP.DISARM.BY_REGISTRATION",
        path=REACTOR,
        old="""        if self.live:
            self.live = False
            self._slot.hold(self.direction, None)
            self._reactor.tell(self._slot, self._slot.wanted())
""",
        new="""        self.live = False
        slot = self._reactor._slots.get(self.fd, self._slot)
        slot.hold(self.direction, None)
        self._reactor.tell(slot, slot.wanted())
""",
        story="Who cleans up late takes the handler off that has its number now.",
    ),
    Mutant(
        name="loop-asks-for-nothing-and-hears-of-it",
        clause="LOOP.HUP.HAS_A_CONSUMER",
        path=REACTOR,
        old="""            if wanted != slot.mask and not slot.closed:
                self.tell(slot, wanted)
""",
        new="""            if wanted != slot.mask and not slot.closed:
                try:
                    self._poller.modify(slot.fd, wanted)
                except OSError:
                    slot.mask = 0
                slot.told = 0
""",
        story="Interest that nobody has is set to mask 0, and a hang-up is reported all the same, for ever.",
        report="https://github.com/libuv/libuv/issues/1148",
    ),
    Mutant(
        name="loop-calls-for-a-closed-descriptor",
        clause="LOOP.CLOSE.BEHIND_THE_BACK",
        path=REACTOR,
        old="        if self.live and _is_gone(self._slot):\n",
        new="        if not self.live and _is_gone(self._slot):\n",
        story="A handler whose descriptor is closed, but for a duplicate, is called again and again.",
    ),
    Mutant(
        name="loop-takes-a-hint-for-a-promise",
        clause="LOOP.DISPATCH.EVENT_IS_A_HINT",
        path=STREAMS,
        old="""                return self.socket.recv(max_bytes)
            except BlockingIOError:
                continue  # readiness is a hint
""",
        new="""                return self.socket.recv(max_bytes)
            except InterruptedError:
                continue  # readiness is a hint
""",
        story="A task that was woken and finds nothing raises BlockingIOError.",
    ),
    Mutant(
        name="loop-newcomer-takes-the-place-of-one-that-was-woken",
        clause="LOOP.DISPATCH.EVENT_IS_A_HINT",
        path="impl/refloop/waits.py",
        old="            self._task = None\n            task.wake()\n",
        new="            self._task = None\n            self.release()\n            task.wake()\n",
        story="A waiter gives up its place when it is woken: if it was for nothing, a newcomer has it.",
    ),
    Mutant(
        name="loop-rearm-spares-the-call",
        clause="LOOP.ET.DRAIN_OR_REARM",
        path=REACTOR,
        old="""        self.interest = INTEREST[self.direction] | self.mode.value
        self._reactor.tell(self._slot, self._slot.wanted())
""",
        new="""        self.interest = INTEREST[self.direction] | self.mode.value
        if self._slot.mask != self._slot.wanted():
            self._reactor.tell(self._slot, self._slot.wanted())
""",
        story="To re-arm with the same mask is thought to change nothing, and what is unread stays unread.",
        report="https://github.com/tokio-rs/mio/issues/45",
    ),
    Mutant(
        name="loop-one-shot-forgets-the-other-direction",
        clause="LOOP.ONESHOT.REARM_ALL_DIRECTIONS",
        path=REACTOR,
        old="            if slot.mask == ONESHOT and slot.wanted():\n",
        new="            if slot.mask == ONESHOT and slot.wanted() and not events & _WAKES_WRITER:\n",
        story="A writer that has had its one-shot report leaves the reader of its descriptor silenced.",
    ),
    Mutant(
        name="loop-writable-is-connected",
        clause="LOOP.CONNECT.BY_SO_ERROR",
        path=STREAMS,
        old="            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)\n",
        new="            error = 0\n",
        story="A socket that has become writable is taken for connected, refused or not.",
        report="https://github.com/artpaul/clickhouse-cpp/issues/85",
    ),
    Mutant(
        name="loop-connect-does-not-wait",
        clause="LOOP.CONNECT.BY_SO_ERROR",
        path=STREAMS,
        old="            await wait_writable(connection)\n",
        new="",
        story="SO_ERROR is read while the connect is under way, and its 0 is taken for success.",
    ),
    Mutant(
        name="loop-accepts-without-descriptors",
        clause="LOOP.ACCEPT.OUT_OF_DESCRIPTORS",
        path=STREAMS,
        old="                await sleep(ACCEPT_BACK_OFF)\n",
        new="                await checkpoint()\n",
        story="Out of descriptors, the listener is readable still, and is asked again in every turn.",
        report="https://github.com/sustrik/libmill/issues/182",
    ),
    Mutant(
        name="loop-goes-on-in-the-child",
        clause="LOOP.FORK.REFUSED",
        path=OWNER,
        old="os.register_at_fork(after_in_child=_disown)\n",
        new="_DISOWN = _disown\n",
        story="A forked child goes on with the loop it has inherited, and changes its parent's interest set.",
        report="https://github.com/python/cpython/issues/66197",
    ),
    Mutant(
        name="loop-callbacks-from-anywhere",
        clause="LOOP.THREAD.OWNED",
        path=REACTOR,
        old="        self._mine()\n        handle = Handle(callback, args, self)\n",
        new="        handle = Handle(callback, args, self)\n",
        story="Another thread queues a callback without the thread-safe post, and the loop sleeps on it.",
    ),
)
