"""The pages, as Markdown: one an area, one of proofs, one to begin with, and what ``docs/`` holds besides."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path

import loopspec
from loopspec import call, coro, rpc
from loopspec.clause import AREAS, Clause, Kind, Level, Profile, register
from loopspec.conformance.evidence import Evidence, packaged
from loopspec.conformance.interleaving import printable
from loopspec.conformance.loops import refloop
from loopspec.conformance.markdown import plain
from loopspec.conformance.site.diagram import Table, svg


class SiteError(Exception):
    """The site cannot be built; a line for each thing to mend."""


@dataclass(frozen=True)
class Life:
    """A life-cycle table, and where it is."""

    area: str
    title: str
    place: str
    table: Table


LIVES = (
    Life("CALL", "The life of a call", "loopspec.call.LIFE", tuple(call.LIFE.items())),
    Life("CORO", "The life of a task", "loopspec.coro.LIFE", tuple(coro.LIFE.items())),
    Life("CORO", "The life of a task in refloop", "refloop.tasks.LIFE", refloop.LIVES["refloop.tasks.LIFE"]),
    Life("RPC", "The life of a remote call", "loopspec.rpc.LIFE", tuple(rpc.LIFE.items())),
    Life(
        "RPC",
        "The life of a remote call in refloop",
        "refloop.rpc.calls.LIFE",
        refloop.LIVES["refloop.rpc.calls.LIFE"],
    ),
)

SMALL_SCOPE = "tests/kernel/test_small_scope.py"

_CLAUSE = """A clause is a rule in code whose docstring is its normative sentence; what stands on
these pages is taken from there."""

_DIGEST = """The digest is taken over the sentence, its level, kind and profile, so that a citation says which
wording was meant; `loopspec explain ID@DIGEST` tells whether it still stands. Ids are never reused."""

_PROOF = """A proof here is of a table or of the step of a rule, and not of a loop; a search is of the
model, and not of a kernel; a test is of the runs that were made. Each says how far it goes."""

_CROSSHAIR = """CrossHair follows every path of the function, for all inputs that the contract admits, and
the gate takes no other answer than a confirmation. Beside each stands what the same tool has to refute:
changes of the module that it is about after which the contract is false."""

_LIVE = """Rules of the model of the kernel. The model and the kernel make the same drawn calls, and what the
kernel did has to be among what the model allows."""

_ID = re.compile(r"(?<![\w./`])[A-Z]+(?:_[A-Z]+)*(?:\.[A-Z]+(?:_[A-Z]+)*){2}(?![\w(]|\.\w)")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")

Rows = Mapping[str, Mapping[str, str]]


def pages(root: Path) -> dict[str, str]:
    """Every page by its file name, made of the checkout at ``root``.

    Raises :class:`SiteError` for a mention of a clause that there is not.
    """
    found, evidence = register(), packaged()
    rows = _conformance(root / "docs" / "conformance.md")
    made = {
        file.name: _inside(file.read_text(encoding="utf-8")) for file in sorted((root / "docs").glob("*.md"))
    }
    made["index.md"] = _index(found)
    made["proofs.md"] = _proofs(root, found, evidence)
    for area in AREAS:
        of_area = [entry for entry in found.values() if entry.area == area.upper()]
        made[f"{area}.md"] = _area(area, of_area, evidence, rows)
    wrong = [f"{name}: {id} is no clause" for name, text in made.items() for id in _mentioned(text, found)]
    if wrong:
        raise SiteError("\n".join(wrong))
    return made


def _inside(text: str) -> str:
    """``text`` without its links to files of the checkout, which are no part of the site."""
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", text)


def _mentioned(text: str, found: Mapping[str, Clause]) -> Iterator[str]:
    """The ids that ``text`` speaks of and that are no clause's, code aside."""
    prose = re.sub(r"```.*?```|<svg.*?</svg>|<pre.*?</pre>", "", text, flags=re.DOTALL)
    yield from sorted(
        {id for id in _ID.findall(prose) if id not in found and id.split(".")[0].lower() in AREAS}
    )


def _prose(text: str) -> str:
    """A docstring as Markdown, in which every clause that is named is a link to it."""
    text = _ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", text.replace("``", "`"))
    return _linked(text)


def _linked(text: str) -> str:
    return _ID.sub(lambda id: f"[{id[0]}]({_place(id[0])})", text)


def _place(id: str) -> str:
    return f"{id.partition('.')[0].lower()}.md#{id}"


def _conformance(file: Path) -> Rows:
    """The verdicts of ``docs/conformance.md``: by clause, and then by loop."""
    rows: dict[str, dict[str, str]] = {}
    loops: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "clause":
            loops = cells[1:]
        elif loops and line.startswith("| `"):
            id = cells[0].partition("`")[2].partition("`")[0]
            rows[id] = dict(zip(loops, cells[1:], strict=True))
    return rows


# --- one area -------------------------------------------------------------------------------------------


def _area(area: str, clauses: list[Clause], evidence: Mapping[str, Evidence], rows: Rows) -> str:
    module = import_module(f"loopspec.{area}")
    parts = [f"# {area.upper()}", "", _prose(inspect.cleandoc(module.__doc__ or "")), ""]
    for life in LIVES:
        if life.area == area.upper():
            parts += [
                f"## {life.title}",
                "",
                svg(life.table, life.title),
                "",
                f"The table is `{life.place}`; ",
            ]
            parts += ["what has no arrow is refused, or leaves the state as it is.", ""]
    for entry in clauses:
        parts += _clause(entry, evidence.get(entry.id, Evidence()), rows.get(entry.id, {}))
    return "\n".join(parts)


def _clause(clause: Clause, evidence: Evidence, verdicts: Mapping[str, str]) -> Iterator[str]:
    yield f"## {clause.id} {{ #{clause.id} }}\n"
    yield f"> {_linked(plain(clause.sentence))}\n"
    yield "<dl>"
    yield f"<dt>binds</dt><dd>{clause.level.value} · {clause.kind.value} · {clause.profile.value}</dd>"
    yield f"<dt>source</dt><dd>{escape(clause.source or 'this specification')}</dd>"
    yield f"<dt>cite as</dt><dd><code>loopspec {loopspec.__version__}, {clause.citation}</code></dd>"
    yield f"<dt>shown by</dt><dd>{_means(clause, evidence)}</dd>"
    if verdicts:
        told = "<br>".join(f"{loop}: {verdict}" for loop, verdict in verdicts.items())
        yield f"<dt>loops</dt><dd>{told.replace(chr(92), '')}</dd>"
    yield "</dl>\n"
    yield f'??? "Rule `{clause.rule.__module__}.{clause.rule.__qualname__}`"\n'
    yield _indented("```python\n" + inspect.cleandoc("\n" + inspect.getsource(clause.rule)) + "\n```") + "\n"
    yield f'??? "Mutants that break it ({len(evidence.mutants)})"\n'
    for mutant in evidence.mutants:
        report = f" ([report]({mutant.report}))" if mutant.report else ""
        yield f"    - **{plain(mutant.name)}**: {plain(mutant.story)}{report}"
    yield f'\n??? "Tests that cite it ({len(evidence.tests)})"\n'
    yield from (f"    - `{printable(test)}`" for test in evidence.tests)
    yield ""


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def _means(clause: Clause, evidence: Evidence) -> str:
    """By what means it is known that the clause holds, in a line."""
    means = []
    if any(test.startswith(SMALL_SCOPE) for test in evidence.tests):
        means.append("search of the model to the end at small scope")
    if not clause.watches:
        means.append("comparison of the model with the live kernel, call by call")
    else:
        means.append("judged runs of generated scenarios")
    if clause.kind is Kind.WITNESS:
        means.append("a witness")
    return "; ".join([*means, "tests"])


# --- proofs ---------------------------------------------------------------------------------------------


def _proofs(root: Path, found: Mapping[str, Clause], evidence: Mapping[str, Evidence]) -> str:
    contracts = tomllib.loads((root / "tests" / "spec" / "proofs.toml").read_text(encoding="utf-8"))[
        "contract"
    ]
    searched = [
        id for id in found if any(t.startswith(SMALL_SCOPE) for t in evidence.get(id, Evidence()).tests)
    ]
    only = [entry.id for entry in found.values() if entry.watches and entry.id not in searched]
    asked = [entry.id for entry in found.values() if not entry.watches and entry.id not in searched]
    scope = (root / SMALL_SCOPE).read_text(encoding="utf-8").split('"""')[1]
    return "\n".join(
        (
            "# What is proved, and what is only tested",
            "",
            _PROOF,
            "",
            f"## Confirmed over all paths: {len(contracts)} contracts",
            "",
            _CROSSHAIR,
            "",
            *(line for contract in contracts for line in _contract(contract)),
            f"## Searched to the end at small scope: {len(searched)} clauses",
            "",
            _prose(inspect.cleandoc(scope)),
            "",
            *(f"- {_linked(id)}" for id in searched),
            "",
            f"## Tested against the live kernel: {len(asked)} clauses",
            "",
            _LIVE,
            "",
            *(f"- {_linked(id)}" for id in asked),
            "",
            f"## Tested by judged runs: {len(only)} clauses",
            "",
            "Of these it is proved above which event the rule refuses in which state; that a loop keeps them",
            "is tested.",
            "",
            *(f"- {_linked(id)}" for id in only),
            "",
        )
    )


def _contract(contract: Mapping[str, object]) -> Iterator[str]:
    module, function = str(contract["module"]), str(contract["function"])
    found = getattr(import_module(module), function)
    yield f"### `{module}.{function}`\n"
    yield "```text\n" + inspect.cleandoc(found.__doc__ or "") + "\n```\n"
    mutants, clauses = contract["mutant"], contract.get("clauses", [])
    assert isinstance(mutants, list)
    assert isinstance(clauses, list)
    yield from (f"- a step of the rule of {_linked(id)}" for id in clauses)
    yield from (f"- refuted: {plain(mutant['name'])}" for mutant in mutants)
    yield ""


# --- the first page -------------------------------------------------------------------------------------


def _index(found: Mapping[str, Clause]) -> str:
    areas = [area.upper() for area in AREAS]
    lines = [
        f"| [{area}]({area.lower()}.md) | {_first_line(area)} | {_count(found, area)} |" for area in areas
    ]
    example = next(iter(found.values()))
    return "\n".join(
        (
            "# The specification of event loops",
            "",
            f"loopspec {loopspec.__version__}: {len(found)} clauses. {_CLAUSE}",
            "",
            "| area | what it is about | clauses |",
            "| --- | --- | --- |",
            *lines,
            "",
            "## Level, kind, profile",
            "",
            f"Levels are {_listed(Level)} (RFC 2119); kinds {_listed(Kind)};",
            f"profiles, which say whom a clause binds, {_listed(Profile)}.",
            "",
            "## How to cite { #citing }",
            "",
            f"By version, id and digest: `loopspec {loopspec.__version__}, {example.citation}`. {_DIGEST}",
            f"A page of this site is cited by its anchor, such as `{example.area.lower()}/#{example.id}`.",
            "",
            "## What is known",
            "",
            "[What is proved, by what means and at what scope, and what is only tested](proofs.md).",
            "",
        )
    )


def _listed(words: type[Level | Kind | Profile]) -> str:
    return ", ".join(entry.value for entry in words)


def _first_line(area: str) -> str:
    text = inspect.cleandoc(import_module(f"loopspec.{area.lower()}").__doc__ or "").split("\n\n")[0]
    about = " ".join(text.split()).removeprefix(area).lstrip(":, ")
    return _prose(re.split(r"(?<=[.]) ", about)[0])


def _count(found: Mapping[str, Clause], area: str) -> int:
    return sum(entry.area == area for entry in found.values())


def anchors(found: Mapping[str, Clause]) -> dict[str, str]:
    """Where each clause has to be: the page of its area, in the built site."""
    return {escape(id): f"{entry.area.lower()}/index.html" for id, entry in found.items()}
