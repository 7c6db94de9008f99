"""Results as Markdown: the matrix that a maintainer puts beside a documentation, and ``docs/conformance.md``.

It says first what it depends on (versions, kernel, day, seed, how many runs), since a matrix without these
cannot be checked by anybody; then a table an area; then what is broken, each with the run in words and the
command that shows it again. The drawn time lines are the HTML report's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from loopspec.clause import Clause
from loopspec.conformance.interleaving import printable
from loopspec.conformance.report import DEVIATES, LEGEND, LOOKS, broken, look, mishap_in_words, replay_command
from loopspec.conformance.result import ClauseResult, Counterexample, LoopResult, Results
from loopspec.conformance.setting import Setting


def document(results: Results, clauses: Sequence[Clause], setting: Setting) -> str:
    """The whole of a campaign as one Markdown document."""
    judged = [entry for entry in clauses if any(entry.id in loop.clauses for loop in results.values())]
    return "\n".join(
        (
            "# Conformance",
            "",
            f"{' · '.join((*setting.parts, setting.date))}",
            "",
            *_loops(results),
            "",
            f"{LEGEND}",
            *_matrix(results, judged),
            *_deviations(results, judged),
            *_broken(results, judged),
            "",
        )
    )


def _table(heading: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield _line(heading)
    yield _line(["---"] * len(heading))
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plain(text: str) -> str:
    """``text`` such that Markdown takes no character of it for anything else."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in printable(text))


def _loops(results: Results) -> Iterator[str]:
    words = [word for _, word, _ in (*LOOKS.values(), DEVIATES)]
    yield from _table(["loop", "version", "runs", *words], map(_loop, results, results.values()))
    for name, loop in results.items():
        if loop.absent is not None:
            yield f"\n{plain(name)}: {plain(loop.absent)}"
        if loop.trouble is not None:
            yield f"\n{plain(name)}: {plain(loop.trouble)}"
        for accident in loop.accidents:
            yield f"\n{plain(name)}: {plain(mishap_in_words(loop, accident))}"
        for id, count in loop.unrepeated.items():
            seen = f"{id} was seen broken ({count}), not again when run again, and not counted."
            yield f"\n{plain(name)}: {seen}"


def _loop(name: str, loop: LoopResult) -> Sequence[str]:
    if loop.absent is not None:
        return [plain(name), "skipped", "0", *(["–"] * (len(LOOKS) + 1))]
    counts = Counter(look(entry) for entry in loop.clauses.values())
    figures = [str(counts[one]) for one in (*LOOKS.values(), DEVIATES)]
    return [plain(name), plain(loop.version), f"{loop.scenarios:,}", *figures]


def _matrix(results: Results, clauses: Sequence[Clause]) -> Iterator[str]:
    results = {name: loop for name, loop in results.items() if loop.absent is None}
    for area in dict.fromkeys(entry.area for entry in clauses):
        yield f"\n## {area}\n"
        rows = (
            [
                f"`{entry.id}` {entry.level.value}",
                *(_cell(loop.clauses.get(entry.id)) for loop in results.values()),
            ]
            for entry in clauses
            if entry.area == area
        )
        yield from _table(["clause", *map(plain, results)], rows)


def _cell(result: ClauseResult | None) -> str:
    if result is None:
        return ""
    sign, word, _ = look(result)
    sign = plain(sign).replace("~", "\\~")  # two of them on a line would strike out what is between
    count = f" {result.broken:,}/{result.exercised:,}" if result.broken else f" {result.exercised:,}"
    return f"{sign} {word}" + (count if result.exercised else "")


def _deviations(results: Results, clauses: Sequence[Clause]) -> Iterator[str]:
    """What loops declare to do otherwise, each with where they say so."""
    found = [
        (name, entry, deviation)
        for name, loop in results.items()
        for entry in clauses
        if entry.id in loop.clauses and (deviation := loop.clauses[entry.id].deviation) is not None
    ]
    if found:
        yield "\n## Documented deviations\n"
    for name, entry, deviation in found:
        yield f"- {plain(name)}, `{entry.id}`: {plain(deviation.line)} ({deviation.link})"


def _broken(results: Results, clauses: Sequence[Clause]) -> Iterator[str]:
    for name, loop in results.items():
        found = list(broken({name: loop}, clauses))
        if found:
            yield f"\n## What {plain(name)} breaks"
        for _, entry, result in found:
            _, word, _ = LOOKS[result.verdict]
            yield f"\n### {word}: `{entry.citation}`\n\n> {plain(entry.sentence)}\n"
            times = f"{result.broken:,} of the {result.exercised:,} times that its premise came true"
            yield f"{entry.level.value}, broken in {times}."
            if result.counterexample is not None:
                yield from _run(loop, result, result.counterexample)


def _run(loop: LoopResult, result: ClauseResult, example: Counterexample) -> Iterator[str]:
    yield f"\n- allowed: {plain(example.violation.allowed)}"
    yield f"- observed: {plain(example.violation.observed)}\n"
    yield "```text"
    yield from map(printable, example.scenario)
    yield "```\n\n```sh"
    yield printable(replay_command(loop.loop, result.clause, example.token))
    yield "```"
