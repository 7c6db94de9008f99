"""Mutants of the wake-up: the post that nobody comes for, and the one that waits."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

KERNEL = "impl/refloop/kernel.py"
REACTOR = "impl/refloop/reactor.py"

WAKE_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="wake-bit-never-cleared",
        clause="WAKE.POST.NOT_LOST",
        path=REACTOR,
        old="            self._waker.drain()\n            self._signalled = False\n",
        new="            self._waker.drain()\n",
        story="The channel is drained, and the loop still counts as awake: the next post signals nothing.",
        report="https://github.com/netty/netty/pull/5258",
    ),
    Mutant(
        name="wake-post-hands-over",
        clause="WAKE.POST.NEVER_SUSPENDS",
        path=KERNEL,
        old="                os.eventfd_write(descriptor.number, 1)\n",
        new="                os.eventfd_write(descriptor.number, 1)\n                time.sleep(0.0001)\n",
        story="Who posts rests for a moment, so that the loop gets the interpreter at once.",
    ),
    Mutant(
        name="wake-channel-holds-one-post",
        clause="WAKE.POST.NEVER_SUSPENDS",
        path=REACTOR,
        old="        if not self._signalled:\n",
        new="""        import os

        os.set_blocking(self._waker_fd, True)
        os.eventfd_write(self._waker_fd, 2**63)
        if not self._signalled:
""",
        story="Each post is written to a blocking channel, which is full when the loop is long in coming.",
        report="https://github.com/python/cpython/pull/110129",
    ),
    Mutant(
        name="wake-channel-not-drained",
        clause="WAKE.CHANNEL.ONE_BIT",
        path=REACTOR,
        old="            self._waker.drain()\n            self._signalled = False\n",
        new="            self._signalled = False\n",
        story="The queue is taken and the channel left as it is: each wait finds it readable again.",
    ),
    Mutant(
        name="wake-signal-behind-a-post",
        clause="WAKE.SIGNAL.NOT_LOST",
        path=REACTOR,
        old="lambda: self.call_soon_threadsafe(callback, *args))",
        new="lambda: self._signalled or self.call_soon_threadsafe(callback, *args))",
        story="The channel is full, so the signal is dropped, and its handler with it.",
    ),
    Mutant(
        name="wake-post-into-the-void",
        clause="WAKE.POST.AFTER_CLOSE",
        path=REACTOR,
        old="""        if not self._owner.thread:
            self._refuse()
        handle = Handle(callback, args, self)
        self.ready.append(handle)
        if not self._owner.thread:
""",
        new="""        handle = Handle(callback, args, self)
        self.ready.append(handle)
        if self._owner.forked:
""",
        story="A post to a closed loop is let in, and never runs.",
    ),
)
