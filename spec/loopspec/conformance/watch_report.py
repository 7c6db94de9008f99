"""What was seen of a program, told: as lines for a terminal or a failed test, and as one page of HTML.

Both tell the same and in the same order. First what breaks a clause, with the clause; then what is not
the program's fault or not known; then what held the loop, which is another thing. Steps are grouped by
the line of the program at which they happened, the costliest first, since one line in a handler gives
thousands of them.
"""

from __future__ import annotations

import html
import linecache
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

from loopspec.clause import register
from loopspec.watching.sensors import GUESSES
from loopspec.watching.steps import CLAUSE, MS, Frame, Group, Seen, Step, Verdict, grouped, lasted

_CLIENT: Final = "an asynchronous client, such as httpx.AsyncClient or aiohttp; or asyncio.to_thread()"

INSTEAD: Final[tuple[tuple[str, str], ...]] = (
    ("time.sleep", "await asyncio.sleep() or trio.sleep()"),
    ("requests.*", _CLIENT),
    (
        "urllib.request.*",
        "an asynchronous client, such as httpx.AsyncClient or aiohttp; or asyncio.to_thread()",
    ),
    ("http.client.*", _CLIENT),
    ("sqlite3.*", "asyncio.to_thread(), or aiosqlite"),
    ("subprocess.*", "asyncio.create_subprocess_exec() or trio.run_process()"),
    ("os.waitpid", "asyncio.create_subprocess_exec() or trio.run_process()"),
    ("os.system", "asyncio.create_subprocess_shell()"),
    ("queue.*", "asyncio.Queue, or janus between threads"),
    ("threading.*", "asyncio.Lock and the like; or asyncio.to_thread() for what has to wait for a thread"),
    ("concurrent.futures.*", "await asyncio.wrap_future()"),
    ("_thread.*", "asyncio.Lock and the like; or asyncio.to_thread() for what has to wait for a thread"),
    ("socket.getaddrinfo", "await loop.getaddrinfo()"),
    ("_socket.getaddrinfo", "await loop.getaddrinfo()"),
    ("socket.*", "asyncio's streams or loop.sock_*(), on a nonblocking socket"),
    ("_socket.*", "asyncio's streams or loop.sock_*(), on a nonblocking socket"),
    ("select.*", "loop.add_reader()"),
    ("posix.fsync", "asyncio.to_thread(os.fsync, fd)"),
    ("fcntl.*", "LOCK_NB, or asyncio.to_thread()"),
    ("clock_nanosleep(*", "await asyncio.sleep() or trio.sleep()"),
    ("fsync(*", "asyncio.to_thread(os.fsync, fd)"),
    ("fdatasync(*", "asyncio.to_thread(os.fdatasync, fd)"),
    ("flock(*", "LOCK_NB, or asyncio.to_thread()"),
    ("wait4(*", "asyncio.create_subprocess_exec() or trio.run_process()"),
    ("waitid(*", "asyncio.create_subprocess_exec() or trio.run_process()"),
    ("vfork(*", "asyncio.to_thread() around the start of the process, if it matters"),
    ("recv*(*", "asyncio's streams or loop.sock_*(), on a nonblocking socket"),
    ("send*(*", "asyncio's streams or loop.sock_*(), on a nonblocking socket"),
    ("connect(*", "asyncio.open_connection()"),
    ("accept*(*", "asyncio.start_server()"),
    ("poll(*", "loop.add_reader(), or asyncio's streams"),
    ("openat(*", "asyncio.to_thread()"),
    ("futex(*", "asyncio.Lock and the like; or asyncio.to_thread() for what has to wait for a thread"),
)
"""What to use in place of a call, by a function on the stack, the call, or the system call."""


def ms(nanoseconds: int) -> str:
    """A length of time as people read it."""
    return f"{nanoseconds / MS:.3g} ms" if nanoseconds < 1000 * MS else f"{nanoseconds / MS / 1000:.3g} s"


def instead(step: Step) -> str | None:
    """What to use instead of the call that ``step`` was suspended in, where that is known."""
    stack = step.located[0].stack if step.located else step.stack
    names = [*(frame.function for frame in stack), step.call, *map(str, step.samples)]
    return next((advice for pattern, advice in INSTEAD for name in names if fnmatchcase(name, pattern)), None)


def citation() -> str:
    """The clause that a blocked step breaks, with its digest."""
    return register()[CLAUSE].citation


def _where(place: Frame | None) -> str:
    return "at a place that is not known" if place is None else str(place)


def _source(place: Frame | None) -> str:
    return "" if place is None else linecache.getline(place.file, place.line).strip()


def _through(step: Step) -> str:
    """The innermost function, where it is not the program's own line that made the call."""
    stack = step.located[0].stack if step.located else step.stack
    return "" if not stack or stack[-1] == step.place else f", through {stack[-1].function}"


def _what(group: Group) -> str:
    step = group.worst
    wait = next((str(sample) for sample in step.samples if sample.call and not sample.lock), "")
    channel = next((s.channel for s in step.samples if s.call and s.channel not in ("", "0")), "")
    parts = [group.call or ("" if step.samples else "no call was seen")]
    if wait and wait != group.call:
        parts.append(wait)
    if channel:
        parts.append(f"in {channel}")
    return ", ".join(part for part in parts if part)


def told(group: Group) -> Iterator[str]:
    """A group in lines: where, what, how long and how often, and what to use instead."""
    step = group.worst
    times = sum(one.times for one in group.steps)
    often = f"{len(group.steps)} step{'s' * (len(group.steps) > 1)}"
    longest = f", {ms(lasted(step))} at worst" if len(group.steps) > 1 else ""
    suspended = f", suspended {times} time{'s' * (times > 1)}" if times else ""
    yield f"{_where(step.place)}  {ms(group.total)} in {often}{longest}{suspended}"
    if source := _source(step.place):
        yield f"    {source}"
    yield f"    in {step.kind} {step.name} on {step.loop}{_through(step)}"
    if what := _what(group):
        yield f"    {what}"
    if group.verdict == Verdict.BLOCKED.value and (advice := instead(step)):
        yield f"    instead: {advice}"


def _section(steps: Iterable[Step], verdict: str, heading: str, most: int) -> Iterator[str]:
    groups = grouped(steps, verdict)
    if not groups:
        return
    count = sum(len(group.steps) for group in groups)
    yield f"{heading}: {count} step{'s' * (count > 1)}, {ms(sum(group.total for group in groups))} in all"
    for group in groups[:most]:
        yield from (f"  {line}" for line in told(group))
    if len(groups) > most:
        yield f"  and {len(groups) - most} more places"


def blocked_lines(steps: Iterable[Step], most: int = 20) -> Iterator[str]:
    """The blocked ones among ``steps``, as a failed test tells them."""
    entry = register()[CLAUSE]
    yield from _section(steps, Verdict.BLOCKED.value, f"blocked, which breaks {entry.citation}", most)
    yield f"  {entry.sentence}"


def lines(seen: Seen, most: int = 20) -> Iterator[str]:
    """All that was seen."""
    guess = ", a guess" if seen.sensor in GUESSES else ""
    yield f"loopspec watch: sensor {seen.sensor}{guess}"
    yield from (f"  lost: {line}" for line in seen.lost)
    if seen.blocked:
        yield from blocked_lines(seen.blocked, most)
    yield from _section(seen.gil, Verdict.GIL.value, "waited for the interpreter lock", most)
    yield from _section(
        seen.unknown,
        Verdict.UNKNOWN.value,
        "suspended, for the interpreter lock or for what a thread did meanwhile, such as to start",
        min(most, 5),
    )
    yield from _section(seen.held, "held", "held the loop by computing", most)
    if seen.starved:
        worst = max(seen.starved, key=lambda turn: turn.length)
        of = f", {worst.name}" if worst.name else ""
        bound = "" if worst.exact else "at most "
        yield f"starved: {len(seen.starved)} times; what was ready waited {bound}{ms(worst.length)}{of}"
    if seen.dropped:
        yield f"and {seen.dropped:,} more steps that were not kept"
    if not seen.steps:
        yield "no step was suspended, and none held the loop"
    yield f"the longest that what was ready had to wait: {ms(seen.longest)}"


# --- the page -----------------------------------------------------------------------------------------

_COLOURS: Final = {"blocked": "#c62828", "gil": "#6a1b9a", "unknown": "#757575", "held": "#ef6c00"}
_ROW, _WIDTH, _LEFT = 26, 1000, 90
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1120px; margin: 2em auto; color: #222 }
pre { background: #f6f6f4; padding: .8em 1em; overflow-x: auto; border-left: 4px solid #bbb }
svg text { font: 12px system-ui, sans-serif; fill: #444 }
.blocked { border-color: #c62828 } .gil { border-color: #6a1b9a }
.unknown { border-color: #757575 } .held { border-color: #ef6c00 }
"""


def _kind(step: Step) -> str:
    return "held" if step.holds else step.verdict.value


def _time_line(steps: list[Step]) -> Iterator[str]:
    """The steps as bars over time, a row for each kind; a bar is never too small to be seen."""
    begin = min(step.begun for step in steps)
    end = max(step.begun + step.held for step in steps)
    scale = _WIDTH / max(1, end - begin)
    height = _ROW * (len(_COLOURS) + 1)
    yield f'<svg viewBox="0 0 {_LEFT + _WIDTH + 10} {height}" role="img" aria-label="time line">'
    for row, (kind, colour) in enumerate(_COLOURS.items()):
        top = row * _ROW
        yield f'<text x="0" y="{top + 17}">{kind}</text>'
        yield f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{top + 22}" y2="{top + 22}" stroke="#ddd"/>'
        for step in steps:
            if _kind(step) == kind:
                left, width = _LEFT + (step.begun - begin) * scale, max(1.5, step.held * scale)
                title = f"{ms(lasted(step))} {_where(step.place)} {step.kind} {step.name} {step.call}"
                yield (
                    f'<rect x="{left:.1f}" y="{top + 4}" width="{width:.1f}" height="16" fill="{colour}">'
                    f"<title>{html.escape(title)}</title></rect>"
                )
    foot = height - 8
    yield f'<text x="{_LEFT}" y="{foot}">0</text>'
    yield f'<text x="{_LEFT + _WIDTH}" y="{foot}" text-anchor="end">{ms(end - begin)}</text></svg>'


def page(seen: Seen, title: str) -> str:
    """One page of HTML that needs nothing else: the time line, then every place."""
    told_steps = [step for step in seen.steps if _kind(step) in _COLOURS]
    parts = [f"<h1>{html.escape(title)}</h1>"]
    head = [line for line in lines(seen, 0) if not line.startswith("  and ")]
    parts.append(f"<p>{'<br>'.join(html.escape(line) for line in head)}</p>")
    if told_steps:
        parts += _time_line(told_steps)
    for kind in _COLOURS:
        for group in grouped((step for step in told_steps if _kind(step) == kind), kind):
            text = html.escape("\n".join(told(group)))
            parts.append(f'<pre class="{kind}">{kind}: {text}</pre>')
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>\n{body}\n</html>\n"
    )
