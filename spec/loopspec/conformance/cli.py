"""The command line, ``loopspec``: what a person asks, put to the campaign, the judge and the register.

It decides nothing about event loops. It reads what was asked, hands it on, shows the answer, and turns it
into an exit status that a script can trust:

====  =================================================================================================
0     every MUST that was exercised is kept
1     a MUST is broken, or the loop hung, spun, raised or crashed
2     bad usage: an unknown loop, clause, token or file, a trace that cannot be read, an adapter that raises
130   interrupted (128 + SIGINT, as shells have it): the table shows what was known by then
====  =================================================================================================

What is wrong with a request is one line on standard error that names it and the way out; what was
found out before it went wrong is still shown. Results go to standard output, progress to standard error.
The campaign is imported only by the commands that run one, because Hypothesis takes longer to load than
the register takes to print.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

import loopspec
from loopspec.clause import Clause, ClauseError, select
from loopspec.conformance import evidence, kills, output, record, report, setting
from loopspec.conformance.result import INTERRUPTED, Progress, Results, UsageError
from loopspec.judge import Judge, Verdict, Violation
from loopspec.trace import Event, TraceError, read

KEPT, BROKEN, BAD_USAGE, STOPPED = 0, 1, 2, 130

DEFAULT_LOOPS = ("refloop", "refloop@model")

SEEDS = 2**32
"""A seed that nobody chose is drawn below this: short enough to be typed."""

VIOLATIONS_SHOWN = 40
"""So many violations of a recorded trace are shown one by one; the others are counted."""

READ_AT_ONCE = 50_000
"""So many events of a recorded trace are held and judged at a time: the more, the quicker each is."""


class Refused(click.ClickException):
    """A request that ends here: its message is the one line shown."""

    exit_code = BAD_USAGE

    def show(self, file: IO[str] | None = None) -> None:
        """Print the line on standard error."""
        _complain(self.format_message(), file)


def _complain(line: str, file: IO[str] | None = None) -> None:
    click.echo(f"loopspec: {line}", file=file, err=True)


@contextmanager
def _one_line() -> Iterator[None]:
    """Whatever is wrong with the request inside becomes one line, and an interrupt its own exit status."""
    try:
        yield
    except click.UsageError as error:
        command = "loopspec" if error.ctx is None else error.ctx.command_path
        raise Refused(f"{error.format_message().rstrip('.?')}; see `{command} --help`") from None
    except (ClauseError, UsageError, TraceError) as error:
        raise Refused(str(error)) from None
    except KeyboardInterrupt:
        _complain("interrupted")
        raise click.exceptions.Exit(STOPPED) from None


class Commands(click.Group):
    """A group of commands that puts what is wrong with a request in one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options that stand before the command."""
        with _one_line():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Read the rest, and run the command."""
        with _one_line():
            return super().invoke(ctx)


@click.group(
    cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(loopspec.__version__, prog_name="loopspec")
@click.pass_context
def main(ctx: click.Context) -> None:
    """The correctness reference for event loops: judge a loop, judge a trace, read the clauses.

    Exit status: 0 every exercised MUST is kept, 1 a MUST is broken, 2 bad usage, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _clauses(selectors: Sequence[str]) -> tuple[Clause, ...]:
    return select(selector.partition("@")[0] for selector in selectors)


def _trace_clauses(selectors: Sequence[str]) -> tuple[Clause, ...]:
    """Those of the clauses that a trace can be judged by. Raises :class:`UsageError` if there are none."""
    clauses = tuple(entry for entry in _clauses(selectors) if entry.watches)
    if not clauses:
        raise UsageError(
            f"{', '.join(selectors)} is about the kernel, and no trace of a loop shows it: "
            "`loopspec kernel` asks the kernel"
        )
    return clauses


# --- check --------------------------------------------------------------------------------------------


def _outputs(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say as what results are given, for a command that takes ``form`` and the files."""
    file = click.Path(dir_okay=False, path_type=Path)
    options = (
        click.option(
            "--format",
            "form",
            type=click.Choice((output.TERMINAL, *output.FORMATS)),
            default=output.TERMINAL,
            help="What is printed: for the eye, or a document.",
        ),
        click.option("--json", type=file, metavar="FILE", help="Write all results here."),
        click.option(
            "--html",
            type=file,
            metavar="FILE",
            help="Write the report here, as a page that needs nothing else.",
        ),
        click.option(
            "--trace-events",
            type=file,
            metavar="FILE",
            help="Write the counterexamples here, for Perfetto and chrome://tracing.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("loops", nargs=-1, metavar="[LOOP]...")
@click.option(
    "--clause",
    "selectors",
    multiple=True,
    metavar="SELECTOR",
    help="Only clauses with this id or prefix. Repeatable.",
)
@click.option(
    "--examples", type=click.IntRange(min=1), metavar="N", help="Generated scenarios for each loop."
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Draw the same scenarios again.")
@click.option("--replay", "token", metavar="TOKEN", help="Run the one scenario of this token.")
@click.option(
    "--isolate", is_flag=True, help="Run every scenario in a worker process, refloop's and asyncio's too."
)
@_outputs
def check(
    loops: tuple[str, ...],
    selectors: tuple[str, ...],
    examples: int | None,
    seed: int | None,
    token: str | None,
    isolate: bool,
    form: str,
    **files: Path | None,
) -> None:
    """Judge event loops on the real kernel: refloop, asyncio, or any other with an adapter; refloop@model is
    refloop on the simulated kernel, under schedules of its choosing.

    Shows a verdict for each clause and loop, and the shortest run found that breaks each broken clause.
    """
    clauses = _trace_clauses(selectors)
    asked = _files(files)
    output.claim(asked)
    from loopspec.conformance import campaign

    names = loops or DEFAULT_LOOPS
    if token is None:
        seed = secrets.randbelow(SEEDS) if seed is None else seed
        examples = campaign.DEFAULT_EXAMPLES if examples is None else examples
    else:
        seed = examples = None
    if form == output.TERMINAL:
        Console().print(report.heading(seed, examples), soft_wrap=True)
    if token is not None:
        results = campaign.replay(names, token, clauses, isolate=isolate)
    else:
        assert seed is not None
        assert examples is not None
        with _progress() as on_progress:
            results = campaign.check(
                names,
                clauses=clauses,
                examples=examples,
                seed=seed,
                on_progress=on_progress,
                isolate=isolate,
            )
    _tell(form, asked, results, clauses, setting.here(seed, examples))


def _files(options: Mapping[str, Path | None]) -> output.Files:
    """The files that were asked for, by the option as it is typed."""
    return {f"--{name.replace('_', '-')}": file for name, file in options.items()}


def _tell(
    form: str, files: output.Files, results: Results, clauses: tuple[Clause, ...], where: setting.Setting
) -> NoReturn:
    """Give the results in every form that was asked for, and end with their exit status."""
    if form == output.TERMINAL:
        _show(Console(), results, clauses)
    else:
        click.echo(output.FORMATS[form](results, clauses, where), nl=False)
    for loop in results.values():
        if loop.trouble is not None:
            _complain(f"{loop.loop}: {loop.trouble}")
    output.write(files, results, clauses, where)
    raise click.exceptions.Exit(_status(results))


@main.command("report")
@click.argument(
    "records",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE...",
)
@_outputs
def report_command(records: tuple[Path, ...], form: str, **files: Path | None) -> None:
    """Show results that `loopspec check --json` has written: of several files, as one matrix.

    A loop that was judged under several interpreters gets a column for each.
    """
    clauses = _trace_clauses(())
    asked = _files(files)
    output.claim(asked)
    read_back = [record.parse(_text_of(file), str(file), clauses) for file in records]
    where, results = record.merged(read_back)
    if form == output.TERMINAL:
        Console().print(" · ".join(where.parts), style="dim", highlight=False, soft_wrap=True)
    _tell(form, asked, results, clauses, where)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {file}: {error}; give a file that `loopspec check --json` wrote"
        ) from None


def _show(out: Console, results: Results, clauses: tuple[Clause, ...]) -> None:
    out.print(report.verdicts(results, clauses, out.width))
    out.print(report.LEGEND, style="dim", highlight=False)
    out.print(report.deviations(results, clauses))
    for loop, entry, result in report.broken(results, clauses):
        out.print(report.breach(loop, entry, result, out.width))
        out.print(report.replay_line(loop, result), soft_wrap=True)
    for loop, accident in report.accidents(results):
        out.print(report.mishap(loop, accident))
        out.print(report.mishap_line(loop, accident), soft_wrap=True)
    out.print(report.tallies(results))


def _status(results: Results) -> int:
    troubles = {loop.trouble for loop in results.values()} - {None}
    if INTERRUPTED in troubles:
        return STOPPED
    if troubles:
        return BAD_USAGE
    every = (entry for loop in results.values() for entry in loop.clauses.values())
    verdicts = (entry.verdict for entry in every if entry.deviation is None)
    mishaps = any(loop.accidents for loop in results.values())
    return BROKEN if mishaps or Verdict.FAIL in verdicts else KEPT


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """What takes the campaign's progress: a bar a loop on a terminal, elsewhere a line for each beginning."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        begun: set[tuple[str, str]] = set()

        def line(progress: Progress) -> None:
            if (progress.loop, progress.phase) not in begun:
                begun.add((progress.loop, progress.phase))
                click.echo(f"{progress.loop}: {progress.phase}", err=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Drawn when something is told, and by no thread of the bar's own: the kernel is asked by a process that
    # is to be alone with itself.
    with Bar(*columns, console=screen, transient=True, auto_refresh=False) as bar:
        tasks: dict[str, TaskID] = {}
        shown: dict[str, tuple[str, int]] = {}

        def draw(progress: Progress) -> None:
            if progress.loop not in tasks:
                tasks[progress.loop] = bar.add_task("")
            bar.update(
                tasks[progress.loop],
                description=f"{progress.loop}: {progress.phase}",
                completed=progress.done,
                total=progress.total,
            )
            now = (progress.phase, 100 * progress.done // progress.total)
            if shown.get(progress.loop) != now:
                shown[progress.loop] = now
                bar.refresh()

        yield draw


@main.command()
@click.argument("loop")
@click.argument("pythons", nargs=-1, required=True, metavar="PYTHON...")
@click.option(
    "--clause", "selectors", multiple=True, metavar="SELECTOR", help="Only clauses with this id or prefix."
)
@click.option("--examples", type=click.IntRange(min=1), metavar="N", help="Generated scenarios for each.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Draw the same scenarios again.")
def versions(
    loop: str, pythons: tuple[str, ...], selectors: tuple[str, ...], examples: int | None, seed: int | None
) -> None:
    """Judge a loop under this interpreter and others, and show what differs, with the shortest scenario.

    A difference is a scenario that one interpreter's loop breaks a clause in, and another's does not.
    """
    from loopspec.conformance import campaign
    from loopspec.conformance import versions as under

    clauses = _trace_clauses(selectors)
    asked = [under.interpreter(command) for command in (sys.executable, *pythons)]
    out = Console()
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    examples = campaign.DEFAULT_EXAMPLES if examples is None else examples
    out.print(report.heading(seed, examples), soft_wrap=True)
    found = under.differences(
        loop,
        asked,
        clauses,
        examples=examples,
        seed=seed,
        on_progress=lambda line: click.echo(line, err=True),
    )
    for difference in found:
        out.print(report.difference(difference))
        again = report.replay_command(loop, difference.breach.clause, difference.breach.token)
        out.print(f"  $ {again}\n", soft_wrap=True, highlight=False)
    told = ", ".join(one.version for one in asked)
    out.print(f"{loop} under Python {told}: {len(found)} clauses differ", highlight=False)


@main.command()
@click.argument("name")
def adapter(name: str) -> None:
    """Look at the adapter NAME itself: what it has forgotten, or declares and does not show.

    Exit status: 0 nothing is wrong with it, 1 something is.
    """
    from loopspec.conformance import author, campaign

    (entry,) = campaign.found([name]).values()
    wrong = False
    for complaint in author.look(entry):
        wrong = wrong or complaint.wrong
        click.echo(f"{'✗' if complaint.wrong else '·'} {complaint.words}")
    click.echo(f"{name}: {'to be mended' if wrong else 'nothing is wrong with the adapter'}")
    raise click.exceptions.Exit(BROKEN if wrong else KEPT)


# --- judge --------------------------------------------------------------------------------------------


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--clause", "selectors", multiple=True, metavar="SELECTOR", help="Only clauses with this id or prefix."
)
def judge(file: str, selectors: tuple[str, ...]) -> None:
    """Judge a recorded trace: an NDJSON file, or - for standard input.

    Shows a verdict for each clause and the refused events, by line. A line that cannot be read ends the
    trace there: what was judged up to it is shown, and the exit status is 2.
    """
    clauses = _trace_clauses(selectors)
    # What is no UTF-8 is let through here, for the reader of traces to refuse by its line.
    with click.open_file(file, encoding="utf-8", errors="surrogateescape") as stream:
        try:
            header, events = read(stream)
        except TraceError as error:
            raise Refused(f"{file}: {error}") from None
        bench = Judge(clauses, header.shows)
        trouble = _judged(bench, events)
    results = {header.loop: report.findings_as_result(header.loop, bench.findings)}
    out = Console()
    out.print(report.verdicts(results, clauses, out.width))
    _show_violations(out, file, bench.violations, {entry.id: entry for entry in clauses})
    out.print(report.tallies(results))
    if trouble is not None:
        raise Refused(f"{file}: {trouble}; what is shown is what was judged up to there")
    raise click.exceptions.Exit(_status(results))


def _judged(bench: Judge, events: Iterable[Event]) -> TraceError | None:
    """Have ``events`` judged as far as they can be read; what ended them early, if anything did."""
    batch: list[Event] = []
    trouble = None
    try:
        for event in events:
            batch.append(event)
            if len(batch) == READ_AT_ONCE:
                bench.read(batch)
                batch.clear()
    except TraceError as error:
        trouble = error
    bench.read(batch)
    return trouble


def _show_violations(
    out: Console, file: str, violations: Sequence[Violation], clauses: Mapping[str, Clause]
) -> None:
    for found in violations[:VIOLATIONS_SHOWN]:
        entry = clauses[found.clause]
        out.print(report.place(file, found, entry), soft_wrap=True)
        out.print(report.violation(found, entry))
    if len(violations) > VIOLATIONS_SHOWN:
        out.print(f"and {len(violations) - VIOLATIONS_SHOWN:,} more violations\n", highlight=False)


# --- calls --------------------------------------------------------------------------------------------


@main.command()
def calls() -> None:
    """Which real calls block, and which are synchronous: measured by the kernel's own account."""
    from loopspec.conformance import calls as survey

    raise click.exceptions.Exit(survey.main(Console()))


@main.command()
@click.option(
    "--calls", "wanted", type=click.IntRange(min=1), default=20_000, metavar="N", help="Calls to make."
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Draw the same calls again.")
def kernel(wanted: int, seed: int | None) -> None:
    """Compare the model of the kernel with the kernel of this machine, call by call.

    Shows how often each clause was asked of it and agreed. At the first disagreement it stops, and shows the
    shortest sequence of calls that shows it, as a Python script.
    """
    from loopspec.conformance import live
    from loopspec.conformance.machine import MachineError

    seed = secrets.randbelow(SEEDS) if seed is None else seed
    out = Console()
    out.print(report.heading(seed, None), soft_wrap=True)
    try:
        with _progress() as on_progress:
            found = live.compare(
                wanted, seed, lambda made, of: on_progress(Progress("kernel", "asking", made, of))
            )
    except MachineError as error:
        raise Refused(str(error)) from None
    out.print(report.comparison(found, _clauses(())))
    if found.disagreement is not None:
        out.print(report.disagreement(found.disagreement), soft_wrap=True)
        raise click.exceptions.Exit(BROKEN)


# --- explore --------------------------------------------------------------------------------------------


@main.command()
@click.option("--scope", "scopes", multiple=True, metavar="S", help="A scope, or a family. Repeatable.")
@click.option(
    "--strategy", "strategies", multiple=True, metavar="S", help="exhaustive, delay, pct, random. Repeatable."
)
@click.option("--seconds", type=click.FloatRange(min=0), metavar="N", help="Stop after so long.")
@click.option("--schedules", type=click.IntRange(min=1), metavar="N", help="Stop after so many.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Draw the same schedules again.")
@click.option(
    "--clause", "selectors", multiple=True, metavar="SELECTOR", help="Only clauses with this id or prefix."
)
@click.option(
    "--resume",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Go on where FILE was left, and leave it there.",
)
@click.option("--replay", "token", metavar="TOKEN", help="Play the one case of this token, and show its run.")
@click.option("--untraced", is_flag=True, help="Without trace and judge: how fast schedules are played.")
def explore(
    scopes: tuple[str, ...],
    strategies: tuple[str, ...],
    seconds: float | None,
    schedules: int | None,
    seed: int | None,
    selectors: tuple[str, ...],
    resume: Path | None,
    token: str | None,
    untraced: bool,
) -> None:
    """Search the schedules of scenarios on the simulated kernel for one that breaks a clause.

    A schedule decides who acts, what the kernel does, which fault comes and when time passes. Without a limit
    the search takes a minute, or ends when it has played all there is. What fails is made small, and shown
    beside the nearest run that passes.
    """
    clauses = _trace_clauses(selectors)
    if resume is not None and not resume.exists():
        _claim_resume(resume)
    from loopspec.conformance import explored

    raise click.exceptions.Exit(
        explored.replay(Console(), token, clauses)
        if token is not None
        else explored.search(
            Console(),
            explored.Asked(scopes, strategies, seconds, schedules, seed, clauses, resume, untraced),
        )
    )


def _claim_resume(file: Path) -> None:
    """Find out now, rather than after the search, that ``file`` cannot be written."""
    if not file.parent.is_dir():
        raise UsageError(f"cannot write {file}: there is no such directory; give --resume another file")


# --- vectors ------------------------------------------------------------------------------------------


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
def vectors(directory: Path) -> None:
    """Write language-neutral test vectors for kernels and loops, with a description and a runner in C."""
    from loopspec.conformance.vectors import writing

    for file in writing.write(directory):
        click.echo(file)


# --- tour ---------------------------------------------------------------------------------------------


@main.command()
@click.argument("architectures", nargs=-1, metavar="[ARCHITECTURE]...")
def tour(architectures: tuple[str, ...]) -> None:
    """Six architectures of a server before the same clients: who is served, and what the others wait for.

    Measured while you wait, by the kernel's own account: sequential, process, thread, event_loop, reactor,
    coroutine.
    """
    from loopspec.conformance import tour as visits
    from loopspec.server import ARCHITECTURES

    visits.tour(Console(), architectures or ARCHITECTURES)


# --- watch --------------------------------------------------------------------------------------------


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does.")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report with its time line here, too.",
)
@click.option("--live", is_flag=True, help="Tell each step in a line while the program runs.")
@click.option(
    "--held",
    type=click.FloatRange(min=0, min_open=True),
    default=0.1,
    metavar="SECONDS",
    help="How long a step may compute before it holds the loop.",
)
@click.option("--sensor", metavar="NAME", help="This sensor rather than the best: ring, ru_nvcsw or clock.")
@click.option(
    "--allow",
    multiple=True,
    metavar="FUNCTION",
    help="Not what happens in MODULE.FUNCTION; * is any. Repeatable.",
)
@click.option("--fail", is_flag=True, help="Exit with 1 if a step blocked and the program itself ended well.")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="SCRIPT [ARGS]...")
def watch(
    module: str | None,
    page: Path | None,
    live: bool,
    held: float,
    sensor: str | None,
    allow: tuple[str, ...],
    fail: bool,
    args: tuple[str, ...],
) -> None:
    """Run a program and tell which of its steps blocked the loop, in which call, and for how long.

    The program runs unchanged; its exit status is passed on. The report goes to standard error.
    """
    if module is None and not args:
        raise UsageError("watch wants a program: a script, or -m and a module; see `loopspec watch --help`")
    if page is not None:
        output.claim({"--html": page})
    from loopspec.conformance import watch_command

    program, rest = (args[0], args[1:]) if module is None else (module, args)
    status = watch_command.main(
        program,
        rest,
        module=module is not None,
        page=page,
        live=live,
        held=held,
        sensor=sensor,
        allow=allow,
        fail=fail,
    )
    raise click.exceptions.Exit(status)


# --- the register -------------------------------------------------------------------------------------


@main.command()
@click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")
def clauses(selectors: tuple[str, ...]) -> None:
    """The register of clauses as a table, whole or what the selectors name."""
    Console().print(report.register_table(_clauses(selectors)))


@main.command()
@click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")
def mutants(selectors: tuple[str, ...]) -> None:
    """The teeth: every named mutant, what kills it, how soon, and in how few steps it is shown.

    All of them, or those that break the clauses which the selectors name.
    """
    named = {entry.id for entry in _clauses(selectors)}
    rows = [row for row in kills.packaged() if row.clause in named]
    if not rows:
        raise UsageError(f"no mutant breaks {', '.join(selectors)}: `loopspec mutants` lists them all")
    Console().print(report.mutants_table(rows))
    Console().print(report.mutants_tally(rows), highlight=False)


@main.command()
@click.argument("id", metavar="ID[@DIGEST]")
def explain(id: str) -> None:
    """One clause: sentence, level, source, rule, the tests and the mutants behind it.

    With a digest, as a citation has it, this also tells whether the clause still stands as it was cited.
    """
    name, _, digest = id.partition("@")
    named = select([name])
    if named[0].id != name:
        raise UsageError(f"{name} is a prefix, not a clause: explain takes one id, such as {named[0].id}")
    (entry,) = named
    found = evidence.packaged().get(name, evidence.Evidence())
    Console().print(report.explanation(entry, found, loopspec.__version__))
    if digest and digest != entry.digest:
        raise UsageError(f"{id} has changed since it was cited: it now stands as {entry.citation}")
