"""``pytest --loopspec``: a test whose handlers block the loop fails, and says in which call.

Nothing is loaded and nothing installed until it is asked for. Then all loops that run in this process are
watched, and each test is held to what was seen while it ran, fixtures included.

That a step was suspended is certain, whatever its length. In which line is known only of steps that were
late enough to be looked at, about two milliseconds. A test that has shorter ones is therefore run a
second time, on its own, with a profiler that compares the sensor around every call: what the test does in
that run counts for nothing but the place. A step that the second run does not show again was chance, such
as an import, a first use or a page that had to be read from the disk; it is told, and does not fail the
test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest
from _pytest.runner import runtestprotocol

if TYPE_CHECKING:
    from loopspec.watching.session import Session
    from loopspec.watching.steps import Seen, Step

GROUP: Final = "loopspec"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, each with an ini key of the same name."""
    group = parser.getgroup(GROUP, "loopspec: who blocks my loop?")
    group.addoption(
        "--loopspec", action="store_true", help="fail tests in which a step of an event loop blocks"
    )
    group.addoption(
        "--loopspec-budget", metavar="MS", type=float, help="milliseconds that a step may be suspended (0)"
    )
    group.addoption(
        "--loopspec-allow",
        metavar="FUNCTION",
        action="append",
        default=[],
        help="not what happens in MODULE.FUNCTION; * is any; repeatable",
    )
    group.addoption("--loopspec-report", action="store_true", help="tell, and fail nothing")
    group.addoption("--loopspec-once", action="store_true", help="run no test a second time to locate a call")
    group.addoption("--loopspec-sensor", metavar="NAME", help="ring, ru_nvcsw or clock, not the best")
    parser.addini("loopspec", "watch all tests, as --loopspec does", type="bool", default=False)
    parser.addini("loopspec_budget", "milliseconds that a step may be suspended", default="0")
    parser.addini("loopspec_allow", "functions in which a step may block", type="linelist", default=[])
    parser.addini("loopspec_report", "tell, and fail nothing", type="bool", default=False)
    parser.addini("loopspec_once", "run no test a second time", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the watcher, if it is asked for."""
    if config.getoption("--loopspec") or config.getini("loopspec"):
        config.pluginmanager.register(Watcher(config), "loopspec-watcher")


@dataclass
class Findings:
    """What one test came to: steps that fail it, and such as were not seen again."""

    steps: list[Step]
    chance: list[Step]


class Watcher:
    """Watches the session and judges each test."""

    def __init__(self, config: pytest.Config) -> None:
        self.budget = _budget(config)
        self.allow = (*_allowed(), *config.getoption("--loopspec-allow"), *config.getini("loopspec_allow"))
        self.report_only = bool(config.getoption("--loopspec-report") or config.getini("loopspec_report"))
        self.once = bool(config.getoption("--loopspec-once") or config.getini("loopspec_once"))
        self.session = _acquire(config)
        self.failed: list[tuple[str, Findings]] = []
        self.chance = self.gil = self.unknown = self.held = 0

    def pytest_report_header(self) -> list[str]:
        """Which sensor is used, and what is lost here."""
        from loopspec.watching.sensors import GUESSES

        guess = ", a guess" if self.session.sensor in GUESSES else ""
        return [
            f"loopspec: sensor {self.session.sensor}{guess}",
            *map("loopspec: {}".format, self.session.lost),
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run the test, judge it, and tell of it what is to be told."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        mark = self.session.mark()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        seen = self.session.since(mark).without(self.allow)
        self.session.forget(mark)
        self._count(seen)
        blocked = [step for step in seen.blocked if self._over(step)]
        if blocked:
            self._tell(item, reports, self._judge(item, nextitem, blocked))
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _over(self, step: Step) -> bool:
        return (step.held if step.suspended is None else step.suspended) > self.budget

    def _count(self, seen: Seen) -> None:
        self.gil += len(seen.gil)
        self.unknown += len(seen.unknown)
        self.held += len(seen.held)

    def _judge(self, item: pytest.Item, nextitem: pytest.Item | None, blocked: list[Step]) -> Findings:
        """Which of the ``blocked`` steps fail the test: those that were looked at, or are seen again."""
        certain = [step for step in blocked if step.stack]
        short = [step for step in blocked if not step.stack]
        if not short or self.once or not hasattr(item, "_initrequest"):
            return Findings(certain + (short if self.once else []), [] if self.once else short)
        again = self._again(item, nextitem)
        located = {_key(step): step.located for step in again if step.located}
        seen = [replace(step, located=located[_key(step)]) for step in short if _key(step) in located]
        return Findings(certain + seen, [step for step in short if _key(step) not in located])

    def _again(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[Step]:
        """The blocked steps of a second run, with the calls located."""
        mark = self.session.mark()
        item._initrequest()  # type: ignore[attr-defined]  # of a function: fixtures are made anew
        self.session.locating = True
        try:
            runtestprotocol(item, nextitem=nextitem, log=False)
        finally:
            self.session.locating = False
        seen = self.session.since(mark).without(self.allow)
        self.session.forget(mark)
        return [step for step in (*seen.blocked, *seen.unknown) if self._over(step)]

    def _tell(self, item: pytest.Item, reports: list[pytest.TestReport], findings: Findings) -> None:
        from loopspec.conformance.watch_report import blocked_lines

        self.chance += len(findings.chance)
        if not findings.steps:
            return
        self.failed.append((item.nodeid, findings))
        text = "\n".join(blocked_lines(findings.steps))
        for report in reports:
            if report.when != "call":
                continue
            if self.report_only or report.outcome != "passed":
                report.sections.append(("loopspec", text))
            else:
                report.outcome = "failed"
                report.longrepr = text

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line of counts; and the places, if no test failed for them."""
        line = terminalreporter.write_line
        terminalreporter.section("loopspec", sep="-")
        line(
            f"{len(self.failed)} tests with blocked steps; {self.held} steps held the loop, {self.gil} "
            f"waited for the interpreter lock, {self.unknown} for that or something else; {self.chance} "
            "short ones were not seen again"
        )
        if self.report_only and self.failed:
            from loopspec.conformance.watch_report import blocked_lines

            for text in blocked_lines(step for _, findings in self.failed for step in findings.steps):
                line(text)

    def pytest_unconfigure(self) -> None:
        """Take everything away."""
        from loopspec.watching.session import release

        release(self.session)


def _key(step: Step) -> object:
    """What a step is known again by in a second run."""
    return step.kind, step.defined or step.name


def _allowed() -> Iterable[str]:
    from loopspec.watching.steps import ALLOWED

    return ALLOWED


def _budget(config: pytest.Config) -> float:
    given = config.getoption("--loopspec-budget")
    text = config.getini("loopspec_budget") if given is None else given
    try:
        budget = float(text)
    except ValueError:
        budget = -1
    if not budget >= 0:
        raise pytest.UsageError(f"loopspec_budget = {text}: a number of milliseconds is wanted, 0 or more")
    return budget * 1e6


def _acquire(config: pytest.Config) -> Session:
    from loopspec.watching.sensors import SensorError
    from loopspec.watching.session import acquire

    try:
        return acquire(sensor=config.getoption("--loopspec-sensor"))
    except SensorError as error:
        raise pytest.UsageError(f"--loopspec-sensor: {error}") from None
