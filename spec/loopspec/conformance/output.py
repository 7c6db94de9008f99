"""What a campaign's results are written as: one table of forms, for every command that has results.

A form is a function from results to a document. The terminal's is not among them, since it depends on the
width of the terminal and shows its heading before the campaign begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from loopspec.clause import Clause
from loopspec.conformance import evidence, html, junit, markdown, report, trace_events
from loopspec.conformance.result import Results, UsageError
from loopspec.conformance.setting import Setting

TERMINAL = "terminal"

Form: TypeAlias = Callable[[Results, Sequence[Clause], Setting], str]


def _json(results: Results, clauses: Sequence[Clause], setting: Setting) -> str:
    return json.dumps(report.as_json(results, clauses, setting), ensure_ascii=False, indent=1) + "\n"


def _html(results: Results, clauses: Sequence[Clause], setting: Setting) -> str:
    return html.page(results, clauses, evidence.packaged(), setting)


def _trace_events(results: Results, clauses: Sequence[Clause], _: Setting) -> str:
    return trace_events.document(results, clauses)


#: What ``--format`` writes to standard output.
FORMATS: Mapping[str, Form] = {"json": _json, "junit": junit.document, "markdown": markdown.document}

#: What an option of its own writes to a file.
FILES: Mapping[str, Form] = {"--json": _json, "--html": _html, "--trace-events": _trace_events}

Files: TypeAlias = Mapping[str, Path | None]
"""The file that each of these options was given, if it was."""


def claim(files: Files) -> None:
    """Find out now, rather than after the run, that one of ``files`` cannot be written.

    Raises :class:`UsageError`.
    """
    for option, file in files.items():
        if file is None:
            continue
        try:
            file.open("a").close()
        except OSError as error:
            raise UsageError(
                f"cannot write {file}: {error.strerror}; give {option} a file that can be written"
            ) from None


def write(files: Files, results: Results, clauses: Sequence[Clause], setting: Setting) -> None:
    """Write every file that was asked for."""
    for option, file in files.items():
        if file is not None:
            file.write_text(FILES[option](results, clauses, setting), encoding="utf-8")
