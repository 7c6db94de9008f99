"""Results as JUnit XML, the form that continuous integrations read: a suite a loop, a case a clause.

The form knows passed, failed and skipped, and five verdicts have to go into it without a lie. What breaks a
MUST has failed, and nothing else has, so that the file and the exit status say the same. What was not
exercised or not observed is skipped: nothing is known. A SHOULD that is broken has not failed; its case says
``loose`` as a property and tells the run in its output. A loop that could not be judged to its end is an
error of its suite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from loopspec.clause import Clause
from loopspec.conformance.interleaving import printable, told
from loopspec.conformance.report import mishap_in_words, replay_command
from loopspec.conformance.result import ClauseResult, LoopResult, Results
from loopspec.conformance.setting import Setting
from loopspec.judge import Verdict


def document(results: Results, clauses: Sequence[Clause], setting: Setting) -> str:
    """The whole of a campaign as one XML document."""
    suites = Element("testsuites", name="loopspec")
    for name, loop in results.items():
        suites.append(_suite(name, loop, clauses, setting))
    for count in ("tests", "failures", "errors", "skipped"):
        suites.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ElementTree.indent(suites)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
    )


def _suite(name: str, loop: LoopResult, clauses: Sequence[Clause], setting: Setting) -> Element:
    suite = Element("testsuite", name=printable(name), timestamp=f"{setting.date}T00:00:00")
    properties = SubElement(suite, "properties")
    facts = {"version": loop.version, "runs": str(loop.scenarios), "setting": " · ".join(setting.parts)}
    for fact, value in facts.items():
        SubElement(properties, "property", name=fact, value=printable(value))
    if loop.absent is not None:
        case = SubElement(suite, "testcase", classname=printable(name), name="campaign")
        SubElement(case, "skipped", message=printable(loop.absent))
    for entry in clauses:
        if entry.id in loop.clauses:
            suite.append(_case(name, loop, entry, loop.clauses[entry.id]))
    for accident in loop.accidents:
        case = SubElement(suite, "testcase", classname=printable(name), name="accident")
        SubElement(case, "error", message=printable(mishap_in_words(loop, accident)))
    if loop.trouble is not None:
        case = SubElement(suite, "testcase", classname=printable(name), name="campaign")
        SubElement(case, "error", message=printable(loop.trouble))
    suite.set("tests", str(len(suite.findall("testcase"))))
    for count, outcome in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{outcome}"))))
    return suite


def _case(name: str, loop: LoopResult, clause: Clause, result: ClauseResult) -> Element:
    case = Element("testcase", classname=f"{printable(name)}.{clause.area}", name=clause.id)
    properties = SubElement(case, "properties")
    facts = {"verdict": result.verdict.value, "citation": clause.citation, "level": clause.level.value}
    facts |= {"exercised": str(result.exercised), "broken": str(result.broken)}
    for fact, value in facts.items():
        SubElement(properties, "property", name=fact, value=value)
    if result.deviation is not None:
        facts = {"deviation": result.deviation.line, "link": result.deviation.link}
        for fact, value in facts.items():
            SubElement(properties, "property", name=fact, value=printable(value))
        SubElement(case, "system-out").text = _story(loop, result)
        return case
    match result.verdict:
        case Verdict.PASS:
            pass
        case Verdict.FAIL:
            failure = SubElement(case, "failure", message=clause.sentence, type=clause.level.value)
            failure.text = _story(loop, result)
        case Verdict.LOOSE:
            SubElement(case, "system-out").text = _story(loop, result)
        case Verdict.NOT_EXERCISED | Verdict.NOT_OBSERVED:
            SubElement(case, "skipped", message=result.verdict.value)
        case _:
            assert_never(result.verdict)
    return case


def _story(loop: LoopResult, result: ClauseResult) -> str:
    """The counterexample as text: what was allowed, what happened, by which run, and how to see it again."""
    example = result.counterexample
    if example is None:
        return ""
    found = example.violation
    lines = [f"allowed: {found.allowed}", f"observed: {found.observed}", "scenario:"]
    lines += [f"  {line}" for line in example.scenario]
    lines += ["events:"]
    lines += [f"  {place} {told(event)}" for place, event in enumerate(example.events[: found.position + 1])]
    lines += ["again:", f"  {replay_command(loop.loop, result.clause, example.token)}"]
    return "\n" + "\n".join(map(printable, lines)) + "\n"
