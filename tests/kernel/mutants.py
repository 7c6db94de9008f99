"""Mutants of the kernel model, one for each clause at least: the live kernel refutes every one of them.

Each is a slip that somebody made who re-implemented epoll, or wrote down what it does. They are applied to a
copy of the specification, and the comparison must then find a disagreement.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_MODEL = "spec/loopspec/kernel/"

KERNEL_MODEL_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="fd-highest-number",
        clause="FD.NUMBER.LOWEST_FREE",
        path=_MODEL + "fd.py",
        old="return Number(lowest_free(taken))",
        new="return Number(max(taken, default=-1) + 1)",
        story="A new number is one more than the highest, so that closed numbers rest a while.",
    ),
    Mutant(
        name="fd-registration-is-a-reference",
        clause="FD.CLOSE.LAST_REFERENCE",
        path=_MODEL + "fd.py",
        old="""\
    # A call under way refers to it as well: close(2) under a blocked read does not end the read.
""",
        new="""\
    if any(key.file == file for interest in state.epolls.values() for key in interest.registrations):
        return True
""",
        story="A registration keeps its description alive, so that a closed descriptor never hangs up.",
    ),
    Mutant(
        name="stream-half-close-ends-both",
        clause="STREAM.HALF_CLOSE.ONE_WAY",
        path=_MODEL + "stream.py",
        old="return not own.no_more_out",
        new="return not (own.no_more_out or own.no_more_in)",
        story="A half-close of the peer is taken for its full close, and nothing is sent any more.",
        report="https://github.com/tokio-rs/mio/pull/933",
    ),
    Mutant(
        name="stream-all-or-nothing",
        clause="STREAM.WRITE.PARTIAL",
        path=_MODEL + "stream.py",
        old="range(1 if short else max(surely, 1), most + 1)",
        new="range(size, most + 1)",
        story="A nonblocking write takes all of its bytes or none.",
    ),
    Mutant(
        name="pipe-splits-small-writes",
        clause="STREAM.WRITE.PIPE_BUF_ATOMIC",
        path=_MODEL + "pipe.py",
        old="""\
        return (0,)
""",
        new="""\
        return (most - used,)
""",
        story="A pipe takes the part of a small write that fits.",
    ),
    Mutant(
        name="epoll-key-is-the-description",
        clause="EPOLL.KEY.NUMBER_AND_DESCRIPTION",
        path=_MODEL + "errors.py",
        old="return call.op is Control.ADD and _is_registered(state, call) is True",
        new="""\
target, interest = lookup(state, call, call.fd), _interest(state, call)
    known = {key.file for key in interest.registrations} if interest else set()
    return call.op is Control.ADD and target in known""",
        story="A dup of a registered descriptor counts as registered.",
        report="https://github.com/libuv/libuv/issues/1148",
    ),
    Mutant(
        name="epoll-add-twice",
        clause="EPOLL.CTL.EEXIST",
        path=_MODEL + "errors.py",
        old="""\
    Rule(registered_already, (Errno.EEXIST,), "EPOLL.CTL.EEXIST"),
""",
        new="",
        story="ADD of a registered key overwrites it.",
    ),
    Mutant(
        name="epoll-absent-key-is-ebadf",
        clause="EPOLL.CTL.ENOENT",
        path=_MODEL + "errors.py",
        old="Rule(not_registered, (Errno.ENOENT,)",
        new="Rule(not_registered, (Errno.EBADF,)",
        story="A key that is not registered is reported as a bad descriptor.",
        report="https://github.com/twisted/twisted/issues/11625",
    ),
    Mutant(
        name="epoll-closed-number-is-enoent",
        clause="EPOLL.CTL.EBADF",
        path=_MODEL + "errors.py",
        old="Rule(closed_number, (Errno.EBADF,)",
        new="Rule(closed_number, (Errno.ENOENT,)",
        story="A closed number is taken for one that is not registered.",
        report="https://github.com/twisted/twisted/issues/6346",
    ),
    Mutant(
        name="epoll-exclusive-with-anything",
        clause="EPOLL.CTL.EINVAL",
        path=_MODEL + "errors.py",
        old="bool(call.mask & ~EXCLUSIVE_ALLOWS) or target in state.epolls",
        new="target in state.epolls",
        story="EXCLUSIVE may stand beside ONESHOT and RDHUP.",
    ),
    Mutant(
        name="epoll-regular-file",
        clause="EPOLL.CTL.EPERM",
        path=_MODEL + "errors.py",
        old="""\
    Rule(cannot_poll, (Errno.EPERM,), "EPOLL.CTL.EPERM"),
""",
        new="",
        story="A regular file can be registered, and is never reported.",
    ),
    Mutant(
        name="epoll-cycle-is-einval",
        clause="EPOLL.CTL.ELOOP",
        path=_MODEL + "errors.py",
        old="(Errno.ELOOP, Errno.EINVAL)",
        new="(Errno.EINVAL,)",
        story="A cycle is refused like an epoll that is added to itself.",
    ),
    Mutant(
        name="epoll-errors-in-the-order-of-the-page",
        clause="EPOLL.CTL.ANY_HELD_ERROR",
        path=_MODEL + "errors.py",
        old="return tuple(rule for rule in RULES if rule.holds(state, call))",
        new="return tuple(rule for rule in RULES if rule.holds(state, call))[:1]",
        story="Of several errors the first of the page is returned.",
    ),
    Mutant(
        name="epoll-refused-add-is-noted",
        clause="EPOLL.CTL.ERROR_CHANGES_NOTHING",
        path=_MODEL + "epoll.py",
        old="""\
    if refused:
        return refused
""",
        new="""\
    if refused and refused[0].clauses >= {"EPOLL.CTL.EEXIST"}:
        epoll, target = lookup(state, call, call.epfd), lookup(state, call, call.fd)
        noted = Registration(kept_mask(call.mask), call.data)
        branches = _arm(state, epoll, key_of(call.fd, target), noted)
        return tuple(branch.ends(refused[0].result) for branch in branches)
    if refused:
        return refused
""",
        story="An ADD that fails with EEXIST has replaced the mask all the same.",
    ),
    Mutant(
        name="epoll-level-once",
        clause="EPOLL.LT.REPORTS_WHILE_READY",
        path=_MODEL + "epoll.py",
        old="return not (waits_for_an_edge(mask) or mask & ONESHOT)",
        new="return False",
        story="A level-triggered registration is reported once, as if it were edge-triggered.",
    ),
    Mutant(
        name="epoll-no-rotation",
        clause="EPOLL.LT.ROTATES",
        path=_MODEL + "epoll.py",
        old="return untouched + staying",
        new="return staying + untouched",
        story="What was reported goes to the front of the list, and those behind it starve.",
    ),
    Mutant(
        name="epoll-edge-stays",
        clause="EPOLL.ET.ONE_PER_EDGE",
        path=_MODEL + "epoll.py",
        old="return bool(mask & EDGE)",
        new="return False",
        story="An edge-triggered registration is reported for as long as it is ready.",
    ),
    Mutant(
        name="epoll-only-empty-to-ready",
        clause="EPOLL.ET.EMPTY_TO_READY_IS_EDGE",
        path=_MODEL + "wake.py",
        old="return (True, False) if was_ready else (True,)",
        new="return (False,) if was_ready else (True,)",
        story="More data on a ready stream is never an edge, as in the pipes of Linux 5.5.",
        report="https://www.phoronix.com/news/Linux-Broke-Android-Apps-Pipe",
    ),
    Mutant(
        name="epoll-reports-what-was",
        clause="EPOLL.ET.DRAIN_CANCELS",
        path=_MODEL + "epoll.py",
        old="return bool(conditions)",
        new="return True",
        story="What is on the ready list is reported without a second look.",
    ),
    Mutant(
        name="epoll-mod-only-stores",
        clause="EPOLL.MOD.REARMS",
        path=_MODEL + "epoll.py",
        old="""\
    return frozenset(branch.because(*ids) for branch in _arm(state, epoll, key, registration))
""",
        new="""\
    interest = state.epolls[epoll]
    stored = replace(interest, registrations=interest.registrations.put(key, registration))
    return frozenset((Branch(_with_interest(state, epoll, stored)).because(*ids),))
""",
        story="MOD stores the mask and waits for the next event.",
        report="https://github.com/boostorg/asio/issues/320",
    ),
    Mutant(
        name="epoll-oneshot-still-hangs-up",
        clause="EPOLL.ONESHOT.DISARMS_ALL",
        path=_MODEL + "epoll.py",
        old="Mask(mask & MODES) if mask & ONESHOT",
        new="Mask(mask & MODES | HUP | ERR) if mask & ONESHOT",
        story="A one-shot registration that has fired still reports HUP and ERR.",
        report="https://github.com/shadow/shadow/issues/349",
    ),
    Mutant(
        name="epoll-mask-is-what-was-asked",
        clause="EPOLL.MASK.ERR_HUP_ALWAYS",
        path=_MODEL + "epoll.py",
        old="return Mask(asked | ERR | HUP)",
        new="return asked",
        story="HUP and ERR are reported only to those who ask.",
    ),
    Mutant(
        name="unix-half-close-is-not-readable",
        clause="EPOLL.MASK.RDHUP_IN",
        path=_MODEL + "unix.py",
        old="mask = Mask(mask | IN | RDHUP)",
        new="mask = Mask(mask | RDHUP)",
        story="End of file is not a reason to read.",
    ),
    Mutant(
        name="pipe-hang-up-is-readable",
        clause="EPOLL.MASK.PIPE_ENDS",
        path=_MODEL + "pipe.py",
        old="(HUP if pipe.writer is None",
        new="(HUP | IN if pipe.writer is None",
        story="An empty pipe without writers reports IN, as a socket would.",
    ),
    Mutant(
        name="epoll-exclusive-wakes-one",
        clause="EPOLL.EXCLUSIVE.AT_LEAST_ONE",
        path=_MODEL + "wake.py",
        old="for size in range(1, len(hits) + 1):",
        new="for size in range(1, 2):",
        story="Exactly one of the EXCLUSIVE epolls is told.",
        report="https://lkml.iu.edu/hypermail/linux/kernel/1502.1/00763.html",
    ),
    Mutant(
        name="epoll-one-condition-a-report",
        clause="EPOLL.WAIT.COMBINES",
        path=_MODEL + "epoll.py",
        old="return Mask(holds & mask)",
        new="return Mask(holds & mask & -(holds & mask))",
        story="A report names one condition, the lowest bit.",
    ),
    Mutant(
        name="epoll-one-report-too-many",
        clause="EPOLL.WAIT.AT_MOST_MAX",
        path=_MODEL + "epoll.py",
        old="return reported < maxevents",
        new="return reported <= maxevents",
        story="A wait reports one more than was asked for.",
    ),
    Mutant(
        name="epoll-zero-timeout-sleeps",
        clause="EPOLL.WAIT.ZERO_NEVER_SUSPENDS",
        path=_MODEL + "epoll.py",
        old="return timeout is None or timeout > 0",
        new="return True",
        story="A wait with timeout 0 suspends its caller when nothing is ready.",
    ),
    Mutant(
        name="epoll-wait-is-over-at-once",
        clause="EPOLL.WAIT.NOT_EARLY",
        path=_MODEL + "epoll.py",
        old="return suspended.deadline is not None and suspended.deadline <= now",
        new="return suspended.deadline is not None",
        story="A wait with a finite timeout may end before it.",
    ),
    Mutant(
        name="epoll-close-deregisters",
        clause="EPOLL.CLOSE.LIVES_WITH_DESCRIPTION",
        path=_MODEL + "fd.py",
        old="for branch in release(state, file))",
        new="for branch in release(forget(state, file), file))",
        story="Closing a number takes its registrations away, whoever else keeps the description.",
        report="https://github.com/libuv/libuv/issues/1148",
    ),
)
