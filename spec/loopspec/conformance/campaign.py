"""The campaign: many scenarios on a loop, a verdict a clause, and the smallest counterexample of each.

Two passes. The first only looks: it runs every family's scenarios, has each run judged by all clauses at
once, and notes where a clause was first broken. The second makes those small: the same strategy under the
same seed comes to the same scenario again, and Hypothesis shrinks it as long as it breaks that one
clause. Nothing is raised in the first pass, so that one broken clause hides no other.

A violation counts when its scenario shows it again. A run is repeatable by construction, but the machine
below it is not: a page may have to come from the disk in the very turn that is watched. What was seen
once and not again is counted and told apart; it makes no verdict, and it is not passed over in silence.

Each loop is judged in a process of its own, whose main thread is the loop's: a loop that crashes its
process takes nobody's results along. The parent knows of each process what it last told.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import Flaky

from loopspec.clause import Clause, Profile, select
from loopspec.conformance import calls, modelled, servers
from loopspec.conformance.adapter import Adapter, Deviation, IncompatibleError, World
from loopspec.conformance.families import FAMILIES, Family
from loopspec.conformance.interleaving import told
from loopspec.conformance.isolation import Isolated, in_one_line
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.modelled import (
    NOT_SHOWN,
    Case,
    Drawn,
    Taped,
    case_of,
    case_token,
    kinds_for,
    without_calm_end,
)
from loopspec.conformance.result import (
    INTERRUPTED,
    Accident,
    ClauseResult,
    Counterexample,
    LoopResult,
    Progress,
    UsageError,
)
from loopspec.conformance.scenario import Scenario, in_words, token_of
from loopspec.judge import Finding, Judge, Violation
from loopspec.trace import AtRest, Event, Shown

DEFAULT_EXAMPLES = 3000
"""Scenarios a loop: with shrinking, half a minute on one core."""

GROUP = "loopspec.loops"
"""The entry-point group that adapters are found in."""

ON_MODEL = "@model"
"""Behind a loop's name: that loop on the simulated kernel."""

MODELLED = ("refloop",)
"""The loops that take their kernel from the world whole, sockets and waker included."""

TRUSTED = ("refloop", "asyncio")
"""The loops whose scenarios run where they are judged: they take no process down."""

SURVEY = "survey"
"""The token of what is no scenario: the survey of :mod:`loopspec.conformance.calls`."""

_SERVED_IN = 100
"""One script of clients is played on each server for so many scenarios of the loop: it takes as long."""

_TOLD_EVERY = 50
_SILENCE = 60.0
"""Seconds after which a process that tells nothing is given up: the last resort, and never a verdict."""


class MakeLoop(Protocol):
    """An adapter class, as the harness uses it: see :mod:`loopspec.conformance.adapter`."""

    version: str
    shows: frozenset[str]

    def __call__(self, world: World, /) -> Adapter: ...


class _UnkeptError(Exception):
    """The clause that is looked for is broken in this run."""


# --- one loop, in its own process ---------------------------------------------------------------------


class Campaign:
    """The campaign on one loop; to be run on the main thread."""

    def __init__(
        self,
        name: str,
        make: MakeLoop,
        clauses: tuple[Clause, ...],
        hand: Hand,
        survey: tuple[Event, ...] = (),
        isolated: Isolated | None = None,
    ) -> None:
        self.name = name
        self.scenarios = 0
        self.unrepeated: Counter[str] = Counter()
        self._make = make
        self._clauses = {entry.id: entry for entry in clauses}
        self._hand = hand
        self._isolated = isolated
        self._accidents: dict[str, Accident] = {}
        self._judge = Judge(clauses, make.shows)
        self._survey = survey
        self._surveyor = Judge([entry for entry in clauses if _is_surveyed(entry)], calls.SHOWS)
        self._servers: Mapping[str, servers.Command] = getattr(make, "servers", {})
        styles = {Shown} if self._servers.keys() >= servers.STYLES.keys() else set()
        of_servers = [entry for entry in clauses if entry.watches.keys() & {AtRest, *styles}]
        self._server_judge = Judge(
            of_servers if self._servers else [], servers.SHOWS | {cls.__name__ for cls in styles}
        )
        self._deviations: Mapping[str, Deviation] = getattr(make, "deviations", {})
        self._broken: Counter[str] = Counter()
        self._looked: Counter[str] = Counter()  # scenarios, by family
        self._reached: dict[str, Counter[str]] = {}  # by clause: in how many scenarios of each family
        self._first: dict[str, tuple[str, int, Scenario]] = {}
        self._smallest: dict[str, Counterexample] = {}

    def look_at_survey(self) -> None:
        """Judge what the kernel's own calls do: the same for every loop on this machine."""
        self._surveyor.read(self._survey)
        for violation in self._surveyor.violations:
            self._broken[violation.clause] += 1
            words = ("the survey of the kernel's own calls: `loopspec calls` shows it",)
            self._smallest.setdefault(
                violation.clause, Counterexample(violation, self._survey, SURVEY, words)
            )

    def look_at_servers(self, examples: int, seed: int, on_progress: Callable[[str], None]) -> None:
        """Play scripts of clients on the servers that the adapter knows, and have them judged;
        ``on_progress`` is told of each server before it begins."""
        for architecture, command in self._servers.items():
            on_progress(architecture)
            with servers.Server(architecture, command) as server:
                for found in servers.look(server, self._server_judge, examples, seed):
                    self._note_server(server, found)
            self.scenarios += examples
        if self._servers.keys() >= servers.STYLES.keys():
            on_progress("in all styles")
            with servers.Styles(self._servers) as styles:
                for found in servers.look(styles, self._server_judge, examples, seed):
                    self._note_server(styles, found)
            self.scenarios += examples

    def _stage(self, architecture: str) -> servers.Server | servers.Styles:
        if architecture == servers.IN_ALL_STYLES:
            return servers.Styles(self._servers)
        return servers.Server(architecture, self._servers[architecture])

    def replay_server(self, architecture: str, script: servers.Script) -> None:
        """One script only, and what it breaks."""
        with self._stage(architecture) as server:
            for id in self._server_judge.findings:
                entry = self._clauses[id]
                found = servers.breaks(server, script, entry)
                if found is not None:
                    self._note_server(server, found)

    def _note_server(self, server: servers.Stage, found: servers.Found) -> None:
        id = found.violation.clause
        if id not in self._smallest:
            smallest = servers.made_small(server, found, self._clauses[id])
            if smallest is None:
                self.unrepeated[id] += 1
                return
            token = servers.token_of(server.architecture, smallest.script)
            words = tuple(map(told, smallest.script))
            self._smallest[id] = Counterexample(smallest.violation, smallest.events, token, words)
        self._broken[id] += 1

    def look(self, examples: int, seed: int, on_progress: Callable[[int], None]) -> None:
        """The first pass: ``examples`` scenarios, shared out to the families for those of the clauses that
        this loop can show."""
        findings = self._judge.findings.values()
        families = _families([finding.clause.id for finding in findings if finding.observable])
        weights = sum(member.weight for member in families.values())
        for family, member in families.items():
            share = max(1, examples * member.weight // weights)

            def one(scenario: Scenario, family: str = family, share: int = share) -> None:
                self._look_at(scenario, family, share)
                self.scenarios += 1
                on_progress(self.scenarios)

            _drive(member, one, share, _seed(seed, family), shrink=False)

    def hunt(
        self,
        id: str,
        examples: int,
        seed: int,
        *,
        shrink: bool = False,
        shows: Callable[[Scenario], bool] | None = None,
    ) -> Scenario | None:
        """The first scenario that breaks clause ``id``, or with ``shrink`` the smallest that can be made of
        it; None if none does of ``examples`` in each family. ``shows`` says of a scenario that it does, where
        more is asked for. :attr:`scenarios` counts how many were run.
        """
        found: list[Scenario] = []

        def one(scenario: Scenario) -> None:
            self.scenarios += 1
            if self._shows_again(scenario, id) and (shows is None or shows(scenario)):
                found.append(scenario)
                raise _UnkeptError

        for family, member in _families([id]).items():
            with suppress(_UnkeptError, Flaky):
                _drive(member, one, examples, _seed(seed, family), shrink=shrink)
            if found:
                return found[-1]
        return None

    def _look_at(self, scenario: Scenario, family: str, share: int) -> None:
        findings = self._judge.findings
        before = [finding.exercised for finding in findings.values()]
        broken = self._judged(self._judge, scenario)
        self._looked[family] += 1
        for exercised, (id, finding) in zip(before, findings.items(), strict=True):
            if finding.exercised > exercised:
                self._reached.setdefault(id, Counter())[family] += 1
        for id in broken:
            if not self._broken[id] and not self._shows_again(scenario, id):
                self.unrepeated[id] += 1
                continue
            self._broken[id] += 1
            self._first.setdefault(id, (family, share, scenario))

    def _judged(self, judge: Judge, scenario: Scenario) -> set[str]:
        """The clauses that a run of ``scenario`` breaks."""
        self._run(judge, scenario)
        return {violation.clause for violation in judge.violations}

    def _run(self, judge: Judge, scenario: Scenario) -> tuple[Event, ...]:
        """Run ``scenario`` and have it judged; its trace. A loop that lets an exception out on the way is in
        trouble, unless what it had done by then says what is wrong with it."""
        if self._isolated is not None:
            return self._run_isolated(self._isolated, judge, scenario)
        events: list[Event] = []
        crash: Exception | None = None
        try:
            self.play(scenario, events.append)
        except Exception as error:
            crash = error
        judge.restart()
        judge.read(events)
        if crash is not None and not judge.violations:
            raise crash
        return tuple(events)

    def play(self, scenario: Scenario, tell: Callable[[Event], None]) -> None:
        """Run ``scenario`` on a new loop."""
        Lockstep(self._hand, scenario, tell).run(self._make)

    def token_of(self, scenario: Scenario) -> str:
        """What replays ``scenario`` as it is run here."""
        return token_of(scenario)

    def _run_isolated(self, isolated: Isolated, judge: Judge, scenario: Scenario) -> tuple[Event, ...]:
        """The same in a process of its own: what goes wrong there fails this scenario and nothing else. The
        survey of all clauses is what counts accidents, if they show again."""
        ran = isolated(scenario)
        judge.restart()
        judge.read(ran.events)
        if ran.accident is not None and judge is self._judge:
            again = isolated(scenario).accident
            if again is None:
                self.unrepeated[ran.accident] += 1
            else:
                token, words = token_of(scenario), in_words(scenario)
                kind = again.partition("<")[0]  # but for what one object has and another has not
                first = self._accidents.get(kind) or Accident(again, 0, token, words)
                self._accidents[kind] = replace(first, count=first.count + 1)
        return ran.events

    def _shows_again(self, scenario: Scenario, id: str) -> bool:
        return bool(self._judged(Judge([self._clauses[id]], self._make.shows), scenario))

    def make_small(self, seed: int, on_progress: Callable[[str], None]) -> None:
        """The second pass."""
        for id, (family, examples, scenario) in self._first.items():
            on_progress(id)
            smallest = self._shrunk(id, family, examples, seed) or scenario
            if not self._shows_again(smallest, id) or not self._keep(smallest, id):
                self.unrepeated[id] += self._broken.pop(id)

    def _shrunk(self, id: str, family: str, examples: int, seed: int) -> Scenario | None:
        judge = Judge([self._clauses[id]], self._make.shows)
        found: list[Scenario] = []

        def one(scenario: Scenario) -> None:
            if self._judged(judge, scenario):
                found.append(scenario)
                raise _UnkeptError

        with suppress(_UnkeptError, Flaky):
            _drive(FAMILIES[family], one, examples, _seed(seed, family), shrink=True)
        return found[-1] if found else None

    def _keep(self, scenario: Scenario, id: str) -> bool:
        """Keep a run of ``scenario`` that breaks clause ``id``, as what is shown; whether this one does."""
        for violation, events in self.violations(scenario, [self._clauses[id]])[:1]:
            token, words = self.token_of(scenario), in_words(scenario)
            self._smallest[id] = Counterexample(violation, events, token, words)
            return True
        return False

    def violations(
        self, scenario: Scenario, clauses: Sequence[Clause]
    ) -> list[tuple[Violation, tuple[Event, ...]]]:
        """What a run of ``scenario`` breaks, each with the whole trace."""
        judge = Judge(clauses, self._make.shows)
        events = self._run(judge, scenario)
        return [(violation, events) for violation in judge.violations]

    def replay(self, scenario: Scenario) -> None:
        """One scenario only, and what it breaks."""
        self.scenarios = 1
        for id in self._judged(self._judge, scenario):
            if self._keep(scenario, id):
                self._broken[id] = 1
            else:
                self.unrepeated[id] += 1

    def result(self, trouble: str | None = None) -> LoopResult:
        """What has been found so far."""
        return LoopResult(
            self.name,
            self._make.version,
            self.scenarios,
            {id: self._clause_result(finding) for id, finding in self._judge.findings.items()},
            trouble,
            dict(self.unrepeated),
            accidents=tuple(self._accidents.values()),
        )

    def _clause_result(self, finding: Finding) -> ClauseResult:
        id = finding.clause.id
        exercised = finding.exercised
        if id in self._surveyor.findings:
            exercised += self._surveyor.findings[id].exercised
        observable = finding.observable
        if id in self._server_judge.findings:
            served = self._server_judge.findings[id]
            observable = observable or served.observable
            exercised += served.exercised
        seen = Finding(finding.clause, observable, exercised, self._broken[id])
        deviation = self._deviations.get(id) if seen.broken else None
        smallest = self._smallest.get(id)
        return ClauseResult(
            id, seen.verdict, seen.exercised, seen.broken, smallest, deviation, self._share(id)
        )

    def _share(self, id: str) -> float | None:
        reached = self._reached.get(id)
        if reached is None:
            return None
        return max(count / self._looked[family] for family, count in reached.items())


class ModelCampaign(Campaign):
    """The campaign on the simulated kernel: each scenario under one schedule, which is drawn for it.

    A scenario so has the same schedule whenever it comes, also when it is made small: what is shrunk is the
    scenario. ``case``, if given, is what every scenario is run as: a replay.
    """

    def __init__(
        self, name: str, make: MakeLoop, clauses: tuple[Clause, ...], hand: Hand, case: Case | None = None
    ) -> None:
        super().__init__(name, _Modelled(make), clauses, hand)
        self._case = case
        self._servers = {}

    def play(self, scenario: Scenario, tell: Callable[[Event], None]) -> None:
        """Run ``scenario`` on a new loop, on the simulated kernel."""
        case, schedule = self._drawn(scenario)
        modelled.run(self._make, case, tell, schedule)

    def token_of(self, scenario: Scenario) -> str:
        """The token of the case."""
        case, schedule = self._drawn(scenario)
        with suppress(Exception):  # which the run that is to be replayed has raised, too
            modelled.run(self._make, case, lambda _: None, schedule)
        return case_token(replace(case, tape=without_calm_end(schedule.taken)))

    def _drawn(self, scenario: Scenario) -> tuple[Case, Taped]:
        if self._case is not None:
            return self._case, Taped(self._case.tape)
        seed, kinds = zlib.crc32(repr(scenario).encode()), kinds_for(scenario)
        return Case(scenario, kinds[seed % len(kinds)]), Drawn(seed, calm=seed // len(kinds) % 8)


class _Modelled:
    """An adapter class on the model: it shows no more than the model knows."""

    def __init__(self, make: MakeLoop) -> None:
        self.version = make.version
        self.shows = make.shows - NOT_SHOWN
        self._make = make

    def __call__(self, world: World, /) -> Adapter:
        return self._make(world)


def _is_surveyed(clause: Clause) -> bool:
    return clause.area == "CALL" and clause.profile is Profile.KERNEL


def _surveyed() -> tuple[Event, ...]:
    """The survey's trace; none where the kernel gives no account, and then its clauses are not exercised."""
    with suppress(calls.AccountError):
        return calls.events(calls.measure())
    return ()


def _families(clauses: Collection[str]) -> dict[str, Family]:
    """The families whose scenarios are for any of ``clauses``."""
    areas = {id.partition(".")[0] for id in clauses}
    return {name: family for name, family in FAMILIES.items() if areas & set(family.exercises)}


def _seed(seed: int, family: str) -> int:
    return seed ^ zlib.crc32(family.encode())


def _drive(
    family: Family, one: Callable[[Scenario], None], examples: int, seed: int, *, shrink: bool
) -> None:
    """Have Hypothesis draw scenarios and give each to ``one``; with ``shrink``, make small what raises."""
    if not examples:
        return

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
    )
    @given(family.scenarios)
    def run(scenario: Scenario) -> None:
        one(scenario)

    run()


def drawn(examples: int, seed: int) -> list[Scenario]:
    """So many scenarios, shared out to the families by their weights: the same for the same seed."""
    found: list[Scenario] = []
    weights = sum(member.weight for member in FAMILIES.values())
    for family, member in FAMILIES.items():
        _drive(
            member,
            found.append,
            max(1, examples * member.weight // weights),
            _seed(seed, family),
            shrink=False,
        )
    return found


# --- the process ----------------------------------------------------------------------------------------


def _judge_loop(
    name: str,
    entry: EntryPoint,
    ids: tuple[str, ...],
    work: tuple[int, int] | str,
    tell: Connection,
    isolate: bool,
) -> None:
    """What the process of one loop does; ``work`` is examples and seed, or a token."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    result = LoopResult(name, "")
    try:
        make: MakeLoop = entry.load()
        clauses = select(ids)
        # Before there is a hand: the survey has threads of its own, which change places with the caller.
        survey = _surveyed() if any(map(_is_surveyed, clauses)) else ()
        with hand() as other, Isolated(entry.value) as isolated:
            campaign = (
                ModelCampaign(name, make, clauses, other, _told_case(work))
                if name.endswith(ON_MODEL)
                else Campaign(name, make, clauses, other, survey, isolated if isolate else None)
            )
            result = campaign.result()
            try:
                _work(campaign, work, tell)
                result = campaign.result()
            except Exception as error:
                result = campaign.result(f"the adapter of {name} raised {in_one_line(error)}")
    except ModuleNotFoundError as error:
        result.absent = _how_to_install(entry, str(error.name))
    except IncompatibleError as error:
        result.absent = f"cannot run here, and skipped: {error}"
    except Exception as error:
        result.trouble = f"the adapter of {name} ({entry.value}) cannot be loaded: {in_one_line(error)}"
    tell.send(result)


def _how_to_install(entry: EntryPoint, module: str) -> str:
    """What to type to have what the adapter could not import."""
    ours = entry.dist is not None and entry.dist.name == "loopspec"
    wanted = "'loopspec[peers]'" if ours else module.partition(".")[0]
    return f"not installed, and skipped; to have it: pip install {wanted}"


def _work(campaign: Campaign, work: tuple[int, int] | str, tell: Connection) -> None:
    if work == SURVEY:
        campaign.look_at_survey()
        return
    if isinstance(work, str) and work.startswith(servers.TOKEN):
        campaign.replay_server(*servers.script_of(work))
        return
    if isinstance(work, str):
        campaign.replay(case_of(work).scenario)
        return
    campaign.look_at_survey()
    examples, seed = work

    def on_scenario(done: int) -> None:
        if done % _TOLD_EVERY == 0:
            tell.send((Progress(campaign.name, "looking", done, examples), campaign.result()))

    def on_clause(id: str) -> None:
        tell.send((Progress(campaign.name, f"making {id} small", examples, examples), campaign.result()))

    def on_server(architecture: str) -> None:
        progress = Progress(campaign.name, f"serving, {architecture}", examples, examples)
        tell.send((progress, campaign.result()))

    campaign.look(examples, seed, on_scenario)
    campaign.look_at_servers(max(1, examples // _SERVED_IN), seed, on_server)
    campaign.make_small(seed, on_clause)


def _told_case(work: tuple[int, int] | str) -> Case | None:
    return case_of(work) if isinstance(work, str) and work != SURVEY else None


# --- all loops --------------------------------------------------------------------------------------------


def adapters() -> dict[str, EntryPoint]:
    """The adapters that are installed, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def found(loops: Sequence[str]) -> dict[str, EntryPoint]:
    """The adapters of these names. Raises :class:`UsageError` for a name that is no loop's."""
    known = adapters()
    for name in loops:
        if name.removesuffix(ON_MODEL) not in known:
            raise UsageError(
                f"no loop is named {name!r}: installed are {', '.join(sorted(known)) or 'none'} "
                f"(an adapter is found through the entry-point group {GROUP})"
            )
        if name.endswith(ON_MODEL) and name.removesuffix(ON_MODEL) not in MODELLED:
            raise UsageError(f"{name}: on the simulated kernel only {', '.join(MODELLED)} can run")
    return {name: known[name.removesuffix(ON_MODEL)] for name in loops}


def check(
    loops: Sequence[str],
    *,
    clauses: tuple[Clause, ...],
    examples: int,
    seed: int,
    on_progress: Callable[[Progress], None],
    isolate: bool = False,
) -> dict[str, LoopResult]:
    """Judge ``loops`` on ``examples`` scenarios each; one result a loop, in their order. The scenarios of a
    loop that is not :data:`TRUSTED` run in worker processes, those of all with ``isolate``.

    Interrupted (KeyboardInterrupt), it gives what it has, each unfinished loop marked so. Raises
    :class:`UsageError` for a name that is no loop's.
    """
    return _all(found(loops), clauses, (examples, seed), on_progress, isolate=isolate)


def replay(
    loops: Sequence[str], token: str, clauses: tuple[Clause, ...], *, isolate: bool = False
) -> dict[str, LoopResult]:
    """Judge ``loops`` on the scenario that ``token`` tells. Raises :class:`UsageError` if it tells none."""
    if token.startswith(servers.TOKEN):
        servers.script_of(token)
    elif token != SURVEY:
        case_of(token)
    return _all(found(loops), clauses, token, lambda _: None, isolate=isolate)


def _all(
    entries: dict[str, EntryPoint],
    clauses: tuple[Clause, ...],
    work: tuple[int, int] | str,
    on_progress: Callable[[Progress], None],
    *,
    isolate: bool,
) -> dict[str, LoopResult]:
    ids = tuple(entry.id for entry in clauses)
    results = {name: LoopResult(name, "", trouble="not begun") for name in entries}
    waiting = list(entries.items())
    running: dict[Connection, tuple[str, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                name, entry = waiting.pop(0)
                connection, process = _start(name, entry, ids, work, isolate=isolate)
                running[connection] = (name, process)
                results[name].trouble = "not finished"
            heard = wait(list(running), timeout=_SILENCE)
            for connection in [each for each in running if not heard or each in heard]:
                name, process = running[connection]
                if _hear(connection, process, results, name, on_progress, silent=not heard):
                    del running[connection]
                    connection.close()
    except KeyboardInterrupt:
        for connection, (name, process) in running.items():
            _stop(process)
            connection.close()
            results[name].trouble = INTERRUPTED
    return results


def _start(
    name: str, entry: EntryPoint, ids: tuple[str, ...], work: tuple[int, int] | str, *, isolate: bool
) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    hear, tell = context.Pipe(duplex=False)
    isolate = isolate or name not in TRUSTED
    process = context.Process(target=_judge_loop, args=(name, entry, ids, work, tell, isolate), daemon=True)
    process.start()
    tell.close()
    return hear, process


def _hear(
    connection: Connection,
    process: BaseProcess,
    results: dict[str, LoopResult],
    name: str,
    on_progress: Callable[[Progress], None],
    *,
    silent: bool,
) -> bool:
    """Take what the process of ``name`` tells; whether that was the last."""
    if silent:
        _stop(process)
        results[name].trouble = f"the process of {name} told nothing for {_SILENCE:.0f} s, and was ended"
        return True
    try:
        told = connection.recv()
    except EOFError:
        process.join()
        results[name].trouble = f"the process of {name} ended by itself, with exit code {process.exitcode}"
        return True
    if isinstance(told, LoopResult):
        results[name] = told
        process.join()
        return True
    progress, result = told
    result.trouble = "not finished"
    results[name] = result
    on_progress(progress)
    return False


def _stop(process: BaseProcess) -> None:
    process.kill()
    process.join()


__all__ = ["DEFAULT_EXAMPLES", "GROUP", "Campaign", "MakeLoop", "adapters", "check", "replay"]
