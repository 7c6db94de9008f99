"""The report as a page: one file that needs nothing else, and says everything.

The matrix comes first, since that is what one looks at beside a documentation; whatever is behind a row (the
sentence, its source, the tests and mutants, each loop's counterexample as a drawn time line) opens below it.
All of it is in the document from the start. The script only hides: without it, and for a search or a screen
reader, the page is the whole report. Style and script are files beside this one, ``report.css`` and
``report.js``, put into the page when it is made; its policy (CSP) forbids it to ask for anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources

from loopspec.clause import Clause, Level
from loopspec.conformance.drawn import svg
from loopspec.conformance.evidence import Evidence
from loopspec.conformance.interleaving import printable
from loopspec.conformance.report import DEVIATES, LEGEND, LOOKS, cited, look, mishap_in_words, replay_command
from loopspec.conformance.result import ClauseResult, Counterexample, LoopResult, Results
from loopspec.conformance.setting import Setting
from loopspec.conformance.timeline import What, timeline
from loopspec.judge import Verdict

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(
    results: Results, clauses: Sequence[Clause], evidence: Mapping[str, Evidence], setting: Setting
) -> str:
    """The whole report as one HTML document."""
    judged = [entry for entry in clauses if any(entry.id in loop.clauses for loop in results.values())]
    names = ", ".join(results)
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">',
            f"<title>loopspec: {_safe(names)}</title>",
            f"<style>\n{_asset('report.css')}</style>\n</head>\n<body>",
            "<header>\n<h1>loopspec</h1>",
            f'<p class="setting">{" · ".join(map(_safe, (*setting.parts, setting.date)))}</p>',
            *_tallies(results),
            "</header>",
            *_filters(judged),
            "<main>",
            *_matrix(results, judged, evidence, setting),
            f'<p class="legend">{_safe(LEGEND)}</p>',
            *_key(),
            "</main>",
            f"<script>\n{_asset('report.js')}</script>\n</body>\n</html>\n",
        )
    )


_LASTING: Mapping[What, str] = {
    What.WAIT: "the loop is in its wait",
    What.READY: "what the wait has reported is to be served",
    What.HANDLER: "a handler, a timer or a callback runs",
    What.STEP: "a task runs",
    What.JOB: "a worker runs a job",
    What.SUSPENDED: "a thread is suspended",
}


def _key() -> Iterator[str]:
    """What the bars of the time lines mean."""
    yield '<p class="legend key">In a time line each event has a row, and what lasts a bar: '
    for what, words in _LASTING.items():
        yield f'<span><svg class="run" width="8" height="14"><rect class="span {what.value}" '
        yield f'width="5" height="14" rx="2"/></svg> {words}</span> '
    yield "</p>"


def _asset(name: str) -> str:
    return resources.files("loopspec.conformance").joinpath(name).read_text(encoding="utf-8")


def _safe(text: str) -> str:
    return escape(printable(text))


def _slug(verdict: Verdict) -> str:
    return verdict.value.replace(" ", "-")


_LOOKS = {**{_slug(verdict): told for verdict, told in LOOKS.items()}, "deviates": DEVIATES}
"""What a cell may look like, by the class that the style sheet knows it by."""


def _kind(result: ClauseResult) -> str:
    return _slug(result.verdict) if result.deviation is None else "deviates"


# --- above the matrix -----------------------------------------------------------------------------------


def _tallies(results: Results) -> Iterator[str]:
    yield '<ul class="tallies">'
    for name, loop in results.items():
        if loop.absent is not None:
            yield f"<li><strong>{_safe(name)}</strong>: {_safe(loop.absent)}</li>"
            continue
        counts = Counter((_kind(entry), look(entry)[1]) for entry in loop.clauses.values())
        shares = ", ".join(
            f'<span class="{kind}">{counts[kind, word]} {word}</span>'
            for kind, (_, word, _) in _LOOKS.items()
            if counts[kind, word]
        )
        line = f"<li><strong>{_safe(cited(name, loop))}</strong>: {shares or 'nothing judged'}"
        line += f"; {loop.scenarios:,} runs" if loop.scenarios else ""
        once = ", ".join(f"{id} ({count})" for id, count in loop.unrepeated.items())
        line += f"; seen once, not again when run again, and not counted: {_safe(once)}" if once else ""
        for accident in loop.accidents:
            line += f'<br><span class="trouble">{_safe(mishap_in_words(loop, accident))}</span>'
        line += f'<br><span class="trouble">{_safe(loop.trouble)}</span>' if loop.trouble is not None else ""
        yield f"{line}</li>"
    yield "</ul>"


def _filters(clauses: Sequence[Clause]) -> Iterator[str]:
    areas = dict.fromkeys(entry.area for entry in clauses)
    yield '<form id="filters" class="scripted" aria-label="Filters">'
    yield '<label>Find <input id="find" type="search" placeholder="words of an id or a sentence"></label>'
    yield '<label>Area <select id="area"><option value="">all</option>'
    yield "".join(f"<option>{area}</option>" for area in areas)
    yield '</select></label><label>Level <select id="level"><option value="">all</option>'
    yield "".join(f"<option>{level.value}</option>" for level in Level)
    yield "</select></label><fieldset><legend>Verdict of any loop</legend>"
    for slug, (sign, word, _) in _LOOKS.items():
        yield (
            f'<label class="choice {slug}"><input type="checkbox" name="verdict" value="{slug}" checked> '
            f"{sign} {word}</label>"
        )
    yield '</fieldset><output id="count" aria-live="polite"></output>'
    yield '<button type="reset">Show all</button></form>'


# --- the matrix -----------------------------------------------------------------------------------------


_ON_PAPER = 8
"""So many columns go on a page in the size of the text; more are printed smaller."""


def _matrix(
    results: Results, clauses: Sequence[Clause], evidence: Mapping[str, Evidence], setting: Setting
) -> Iterator[str]:
    results = {name: loop for name, loop in results.items() if loop.absent is None}
    many = ' class="many"' if len(results) > _ON_PAPER else ""
    yield f'<div class="wide"><table id="matrix"{many}>\n<thead><tr><th scope="col">clause</th>'
    for name in results:
        yield f'<th scope="col">{_safe(name)}</th>'
    yield "</tr></thead>"
    for area in dict.fromkeys(entry.area for entry in clauses):
        yield f'<tbody data-area="{area}"><tr class="area"><th colspan="{len(results) + 1}" scope="rowgroup">'
        yield f"{area}</th></tr>"
        for entry in clauses:
            if entry.area == area:
                yield from _row(results, entry)
                yield from _detail(results, entry, evidence.get(entry.id, Evidence()), setting)
        yield "</tbody>"
    yield "</table></div>"


def _row(results: Results, clause: Clause) -> Iterator[str]:
    found = [loop.clauses.get(clause.id) for loop in results.values()]
    verdicts = " ".join(dict.fromkeys(_kind(entry) for entry in found if entry is not None))
    yield f'<tr class="clause" id="{clause.id}" data-level="{clause.level.value}" data-verdicts="{verdicts}"'
    yield f' data-words="{_safe(clause.sentence.lower())}">'
    level = f'<small class="level">{clause.level.value}</small>'
    yield '<th scope="row"><button type="button" class="open" aria-expanded="true" '
    yield f'aria-controls="about-{clause.id}">{_id(clause.id)}</button> {level}</th>'
    for name, entry in zip(results, found, strict=True):
        yield _cell(name, entry)
    yield "</tr>"


def _id(id: str) -> str:
    """An id that may be broken between its words."""
    return escape(id).replace(".", ".<wbr>").replace("_", "_<wbr>")


def _cell(name: str, result: ClauseResult | None) -> str:
    if result is None:
        return "<td></td>"
    sign, word, _ = look(result)
    count = f"{result.broken:,}/{result.exercised:,}" if result.broken else f"{result.exercised:,}"
    words = f"{sign} {word}" + (f" <small>{count}</small>" if result.exercised else "")
    if result.counterexample is not None:
        run = _anchor(result.clause, name)
        words = f'<button type="button" class="show" data-run="{run}">{words}</button>'
    return f'<td class="{_kind(result)}">{words}</td>'


def _anchor(clause: str, name: str) -> str:
    return escape(f"{clause}-in-{name}".replace(" ", "-"))


# --- behind a row ---------------------------------------------------------------------------------------


def _detail(results: Results, clause: Clause, evidence: Evidence, setting: Setting) -> Iterator[str]:
    broken = " broken" if any(_example(loop, clause) for loop in results.values()) else ""
    yield f'<tr class="about{broken}" id="about-{clause.id}"><td colspan="{len(results) + 1}">'
    yield f'<div class="card"><p class="sentence">{_safe(clause.sentence)}</p><dl>'
    traits = f"{clause.level.value} · {clause.kind.value} · {clause.profile.value}"
    yield f"<dt>binds</dt><dd>{traits}</dd>"
    yield f"<dt>source</dt><dd>{_safe(clause.source or 'this specification')}</dd>"
    yield f"<dt>cite as</dt><dd><code>loopspec {_safe(setting.loopspec)}, {clause.citation}</code></dd></dl>"
    yield from _evidence(evidence)
    for name, loop in results.items():
        example = _example(loop, clause)
        if example is not None:
            yield from _counterexample(name, loop, loop.clauses[clause.id], example)
    yield "</div></td></tr>"


def _example(loop: LoopResult, clause: Clause) -> Counterexample | None:
    found = loop.clauses.get(clause.id)
    return None if found is None else found.counterexample


def _evidence(evidence: Evidence) -> Iterator[str]:
    counted = f"tests {len(evidence.tests)}, mutants {len(evidence.mutants)}"
    yield f'<details class="evidence"><summary>evidence: {counted}</summary><dl><dt>tests</dt><dd><ul>'
    yield "".join(f"<li><code>{_safe(test)}</code></li>" for test in evidence.tests) or "<li>none</li>"
    yield "</ul></dd><dt>mutants</dt><dd><ul>"
    for mutant in evidence.mutants:
        report = f" (<code>{_safe(mutant.report)}</code>)" if mutant.report else ""
        yield f"<li><strong>{_safe(mutant.name)}</strong>: {_safe(mutant.story)}{report}</li>"
    yield ("" if evidence.mutants else "<li>none</li>") + "</ul></dd></dl></details>"


def _counterexample(
    name: str, loop: LoopResult, result: ClauseResult, example: Counterexample
) -> Iterator[str]:
    sign, word, _ = look(result)
    found = example.violation
    yield f'<details class="example" id="{_anchor(result.clause, name)}" open>'
    times = f"{result.broken:,} runs; its premise came true {result.exercised:,} times"
    yield f'<summary><span class="{_kind(result)}">{sign} {word}</span> '
    yield f"<strong>{_safe(name)}</strong> broken in {times}</summary><dl>"
    if result.deviation is not None:
        declared = f"{_safe(result.deviation.line)} <code>{_safe(result.deviation.link)}</code>"
        yield f"<dt>declared</dt><dd>{declared}</dd>"
    yield f"<dt>allowed</dt><dd>{_safe(found.allowed)}</dd><dt>observed</dt><dd>{_safe(found.observed)}</dd>"
    scenario = "\n".join(map(_safe, example.scenario))
    yield f"<dt>scenario</dt><dd><pre>{scenario}</pre></dd><dt>again</dt><dd class='again'>"
    command = _safe(replay_command(loop.loop, result.clause, example.token))
    yield f'<code class="command">{command}</code> <button type="button" class="copy scripted">Copy</button>'
    yield '</dd></dl><div class="wide run">'
    title = f"The run of {name} that breaks {result.clause}: {found.observed}"
    yield svg(timeline(example.events, found.position), printable(title))
    yield "</div></details>"
