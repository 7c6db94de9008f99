"""``python -m tests.mutants.generated [FILE ...]``: the mutants of these files, or of all that are mutated.

Ends with status 1 if a mutant survives that is not in its module's list in ``survivors``, or one is there
that is none or has been killed. What it has found out is in ``build/mutants``; stopped, it goes on there.
"""

from __future__ import annotations

import os
import random
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import click

from tests.mutants.generated import suite
from tests.mutants.generated.campaign import Mutant, Results, imported, in_a_process, with_new_code
from tests.mutants.generated.changes import Name, changes
from tests.mutants.generated.suite import ROOT, Suite
from tests.mutants.generated.trial import Outcome, Verdict
from tests.mutants.generated.typed import TypeChecker, type_checker

SURVIVORS = Path(__file__).with_name("survivors")
"""A list for each module that has any, found as the module is: ``survivors/refloop/timers.toml``."""

BUILD = ROOT / "build" / "mutants"

REFLOOP = (
    *(
        "timers",
        "tasks",
        "primitives",
        "cancel",
        "reactor",
        "waits",
        "workers",
        "groups",
        "runtime",
        "streams",
    ),
    *("buffers", "kernel", "signals", "here", "outcomes", "owner", "generators"),
)
RULES = (
    *(
        "judge",
        "ready",
        "frozen",
        "fair",
        "loop",
        "timer",
        "prim",
        "cancel",
        "wake",
        "work",
        "coro",
        "rpc",
        "flow",
    ),
    *("stream", "call", "server", "env", "descriptors", "starvation", "clause"),
)
KERNEL = (
    *(
        "epoll",
        "step",
        "readiness",
        "wake",
        "pipe",
        "stream",
        "eventfd",
        "timerfd",
        "fd",
        "tcp",
        "unix",
        "regular",
    ),
    *("state", "calls", "errors", "law"),
)
TARGETS = (
    *(f"impl/refloop/{name}.py" for name in REFLOOP),
    *(f"spec/loopspec/{name}.py" for name in RULES),
    *(f"spec/loopspec/kernel/{name}.py" for name in KERNEL),
)
"""What is mutated."""

LEAST = 0.95
"""Of all mutants, what has to be killed."""


@dataclass(frozen=True)
class Survivor:
    """A mutant that is known to survive, and why that is no matter."""

    name: Name
    reason: str


def list_of(file: str) -> Path:
    """Where the survivors of ``file`` are listed."""
    return SURVIVORS / Path(*Path(file).parts[1:]).with_suffix(".toml")


def listed(file: str) -> list[Survivor]:
    """The survivors of ``file`` that are known."""
    path = list_of(file)
    if not path.exists():
        return []
    return [
        Survivor(Name(file, each["function"], each["old"], each["new"], each.get("nth", 0)), each["reason"])
        for each in tomllib.loads(path.read_text(encoding="utf-8"))["survivor"]
    ]


@click.command()
@click.argument("files", nargs=-1)
@click.option("--sample", type=click.IntRange(min=1), help="Only so many mutants, drawn by --seed.")
@click.option("--seed", default=1, show_default=True, help="Which mutants --sample draws.")
@click.option("--fresh", is_flag=True, help="Forget what earlier campaigns found out.")
def main(files: tuple[str, ...], sample: int | None, seed: int, fresh: bool) -> None:
    for file in files:
        if file not in TARGETS:
            click.echo(
                f"{file} is not mutated: name a module of impl/refloop or spec/loopspec, as {TARGETS[0]}",
                err=True,
            )
            sys.exit(2)
    if fresh:
        for kept in BUILD.glob("*.json*"):
            kept.unlink()
    known = measured()
    chosen = files or TARGETS
    mutants = [mutant for file in chosen for mutant in mutants_of(file)]
    whole = len(mutants)
    if sample is not None and sample < whole:
        mutants = [mutants[place] for place in sorted(random.Random(seed).sample(range(whole), sample))]
        click.echo(f"{sample} of {whole} mutants, drawn by seed {seed}")
    results = Results(BUILD / "results.jsonl", suite.digest(suite.detectors()))
    begun = perf_counter()
    with type_checker(BUILD / f"typed-{os.getpid()}") as types:
        _try(mutants, known, types, results)
    click.echo(f"{len(mutants)} mutants in {perf_counter() - begun:.0f} s")
    survivors = [survivor for file in chosen for survivor in listed(file)]
    sys.exit(told(mutants, results, survivors, drawn=sample is not None))


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of ``file``."""
    source = (ROOT / file).read_text(encoding="utf-8")
    return [Mutant(change, source) for change in changes(file, source)]


def measured() -> Suite:
    """The suite, measured anew as far as it has changed."""
    file = BUILD / "suite.json"
    known = suite.read(file)
    todo = suite.stale(known)
    if todo:
        click.echo(f"measuring {len(todo)} files of tests")
        suite.forget(known, todo)
        in_a_process(lambda: suite.measured(known, file, todo))
        known = suite.read(file)
        in_a_process(lambda: suite.held_to_the_code_as_it_is(known, file, todo))
        known = suite.read(file)
    for name in known.failing:
        click.echo(f"no detector, since it fails here on the code as it is: {name}")
    return known


def _try(mutants: Sequence[Mutant], known: Suite, types: TypeChecker, results: Results) -> None:
    """Whatever is not known of ``mutants`` is found out, and added to ``results``."""
    todo = [mutant for mutant in mutants if results.of(mutant) is None]
    with click.progressbar(length=len(todo), label="mutants", file=sys.stderr) as bar:

        def refused(mutant: Mutant) -> Outcome | None:
            changed = mutant.change.of(mutant.source)
            refusal = types.refuses(mutant.change.name.file, changed, mutant.source)
            return Outcome(Verdict.REFUSED, refusal) if refusal else None

        def tell(mutant: Mutant, outcome: Outcome, seconds: float) -> None:
            if outcome.verdict is Verdict.SURVIVED:
                outcome = refused(mutant) or outcome
            results.add(mutant, outcome, seconds)
            bar.update(1)

        if todo:
            in_a_process(lambda: with_new_code(todo, known, tell))
            results.read_again()
        for mutant in todo:
            if results.of(mutant) is None:
                begun = perf_counter()
                # Asked first here: what is imported collects the suite, and takes many times as long.
                outcome = refused(mutant) or imported(mutant, known)
                tell(mutant, outcome, perf_counter() - begun)


def told(mutants: Sequence[Mutant], results: Results, survivors: Sequence[Survivor], *, drawn: bool) -> int:
    """Print what is known of ``mutants``, and give the exit status."""
    known = {survivor.name for survivor in survivors}
    wrong = 0
    killed_in_all = 0
    for file in dict.fromkeys(mutant.change.name.file for mutant in mutants):
        own = [mutant for mutant in mutants if mutant.change.name.file == file]
        found = [result for mutant in own if (result := results.of(mutant)) is not None]
        alive = {result.name: result for result in found if result.verdict is Verdict.SURVIVED}
        endless, refused = (
            sum(result.verdict is verdict for result in found)
            for verdict in (Verdict.ENDLESS, Verdict.REFUSED)
        )
        killed = len(found) - len(alive)
        killed_in_all += killed
        click.echo(
            f"{file:36} {len(own):5} mutants {killed:5} killed ({endless} endless, {refused} by types) "
            f"{len(alive):4} survive {killed / max(len(found), 1):7.1%}"
        )
        for name in sorted(alive.keys() - known):
            wrong += 1
            click.echo(stanza(name, "" if alive[name].test else "no test runs it"))
        gone = {name for name in known if name.file == file} - alive.keys()
        for name in sorted(gone & {mutant.change.name for mutant in own} if drawn else gone):
            wrong += 1
            click.echo(f"listed as a survivor, and is none: {name.function}: {name.old} → {name.new}")
    share = killed_in_all / max(len(mutants), 1)
    click.echo(f"{killed_in_all} of {len(mutants)} killed, {share:.1%}; at least {LEAST:.0%} are wanted")
    return int(wrong > 0 or share < LEAST)


def stanza(name: Name, reason: str) -> str:
    """How the list of survivors tells of one."""
    lines = ["[[survivor]]", f"function = {_quoted(name.function)}"]
    lines += [f"old = {_quoted(name.old)}", f"new = {_quoted(name.new)}"]
    lines += [f"nth = {name.nth}"] if name.nth else []
    return "\n".join([*lines, f"reason = {_quoted(reason)}", ""])


def _quoted(text: str) -> str:
    if "'" not in text:
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


if __name__ == "__main__":
    main()
