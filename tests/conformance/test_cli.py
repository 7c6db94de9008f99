"""The command line, as a person and as a script meet it: what is shown, what is refused, how it ends.

The campaign is replaced by one that answers at once, since what is judged here is what is made of its
answer; the campaign itself is judged elsewhere.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

import loopspec.conformance
from loopspec.clause import Clause
from loopspec.conformance.cli import main
from loopspec.conformance.result import INTERRUPTED, LoopResult, Progress, UsageError
from loopspec.judge import Verdict
from loopspec.trace import EVENTS as EVENT_TYPES
from loopspec.trace import Event, Header, TimerCancel, TimerFire, write
from tests.conformance.made_up import CLAUSES, EARLY, SILENT, results


@dataclass(frozen=True)
class Asked:
    """What the campaign was asked to do: to draw, or with a token to replay."""

    loops: tuple[str, ...]
    clauses: tuple[str, ...]
    examples: int = 0
    seed: int = 0
    token: str = ""


class FakeCampaign(ModuleType):
    """A campaign whose answer is given, and which remembers what it was asked."""

    DEFAULT_EXAMPLES = 123

    def __init__(self) -> None:
        super().__init__("loopspec.conformance.campaign")
        self.answer: dict[str, LoopResult] | BaseException = results()
        self.asked: list[Asked] = []

    def _answered(self) -> dict[str, LoopResult]:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def check(
        self,
        loops: Sequence[str],
        *,
        clauses: tuple[Clause, ...],
        examples: int,
        seed: int,
        on_progress: Callable[[Progress], None],
        isolate: bool = False,
    ) -> dict[str, LoopResult]:
        self.asked.append(Asked(tuple(loops), tuple(entry.id for entry in clauses), examples, seed))
        for done in range(3):
            on_progress(Progress("good", "generated scenarios", done, 3))
        return self._answered()

    def replay(
        self, loops: Sequence[str], token: str, clauses: tuple[Clause, ...], *, isolate: bool = False
    ) -> dict[str, LoopResult]:
        self.asked.append(Asked(tuple(loops), tuple(entry.id for entry in clauses), token=token))
        return self._answered()


@pytest.fixture(autouse=True)
def _made_up_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up clauses in the place of the register, whose sentences are its own affair."""
    monkeypatch.setattr("loopspec.clause.AREAS", ())
    monkeypatch.setattr("loopspec.clause._REGISTER", {entry.id: entry for entry in (*CLAUSES, SILENT)})


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> FakeCampaign:
    """The fake in the place of the campaign."""
    fake = FakeCampaign()
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(loopspec.conformance, "campaign", fake, raising=False)
    return fake


def run(*args: str, stdin: str | None = None) -> Result:
    """Run the command line on 100 columns without colour."""
    return CliRunner().invoke(
        main, args, input=stdin, env={"COLUMNS": "100", "NO_COLOR": "1"}, prog_name="loopspec"
    )


def refused(result: Result) -> str:
    """The one line that a refused request gets, after exit status 2."""
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("loopspec: ")
    return line.removeprefix("loopspec: ")


def trace(*events: Event) -> str:
    stream = io.StringIO()
    write(stream, Header("mine", frozenset(EVENT_TYPES)), events)
    return stream.getvalue()


# --- check --------------------------------------------------------------------------------------------


def test_a_broken_must_is_shown_whole_and_ends_with_1(campaign: FakeCampaign) -> None:
    result = run("check", "good", "bad", "--seed", "7", "--examples", "50", "--clause", "TIMER.FIRE")
    assert result.exit_code == 1
    assert campaign.asked == [Asked(("good", "bad"), (EARLY.id,), examples=50, seed=7)]
    assert f"✗ FAIL  bad  {EARLY.citation}" in result.stdout
    assert "  $ loopspec check bad --clause TIMER.FIRE.NEVER_EARLY --replay 4f00aa\n" in result.stdout
    assert "· seed 7 · 50 examples a loop ·" in result.stdout.splitlines()[0]
    assert result.stderr == "good: generated scenarios\n"


def test_a_broken_should_alone_ends_with_0(campaign: FakeCampaign) -> None:
    kept = results()
    kept["bad"].clauses[EARLY.id] = replace(kept["bad"].clauses[EARLY.id], verdict=Verdict.PASS)
    campaign.answer = kept
    assert run("check").exit_code == 0


def test_without_names_the_reference_implementation_is_judged_with_a_seed_that_is_told(
    campaign: FakeCampaign,
) -> None:
    result = run("check")
    (asked,) = campaign.asked
    assert (asked.loops, asked.examples) == (("refloop", "refloop@model"), 123)
    assert f"seed {asked.seed} · 123 examples" in result.stdout


def test_a_token_is_replayed_and_nothing_is_drawn(campaign: FakeCampaign) -> None:
    result = run("check", "bad", "--replay", "4f00aa", "--clause", EARLY.id)
    assert campaign.asked == [Asked(("bad",), (EARLY.id,), token="4f00aa")]
    assert "seed" not in result.stdout


def test_a_citation_selects_like_its_id(campaign: FakeCampaign) -> None:
    run("check", "bad", "--replay", "4f00aa", "--clause", EARLY.citation)
    assert campaign.asked == [Asked(("bad",), (EARLY.id,), token="4f00aa")]


def test_the_json_file_holds_the_results(campaign: FakeCampaign, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert run("check", "--seed", "7", "--json", str(file)).exit_code == 1
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["seed"] == 7
    assert written["loops"].keys() == {"good", "bad"}


@pytest.mark.parametrize("name", ["no/such/directory", "."])
def test_a_file_that_cannot_be_written_is_found_before_the_run(
    campaign: FakeCampaign, tmp_path: Path, name: str
) -> None:
    assert str(tmp_path) in refused(run("check", "--json", str(tmp_path / name)))
    assert campaign.asked == []


def test_an_interrupted_campaign_shows_what_it_has_and_ends_with_130(campaign: FakeCampaign) -> None:
    partial = results()
    partial["bad"].trouble = INTERRUPTED
    campaign.answer = partial
    result = run("check", "good", "bad")
    assert result.exit_code == 130
    assert "✗ FAIL 3/70" in result.stdout
    assert result.stderr.splitlines()[-1] == "loopspec: bad: interrupted"


def test_an_interrupt_that_nobody_caught_ends_with_130_too(campaign: FakeCampaign) -> None:
    campaign.answer = KeyboardInterrupt()
    result = run("check", "good")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "loopspec: interrupted"


def test_a_loop_in_trouble_ends_with_2_and_the_others_are_shown(campaign: FakeCampaign) -> None:
    mixed = results()
    mixed["ugly"] = LoopResult("ugly", "", trouble="its adapter raises ImportError: no module named ugly")
    campaign.answer = mixed
    result = run("check", "good", "bad", "ugly")
    assert result.exit_code == 2
    assert "✗ FAIL 3/70" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("loopspec: ugly: its adapter raises ImportError")


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("check", "--clause", "TIM"), "'TIM'"),
        (("check", "--examples", "none"), "'--examples'"),
        (("check", "--examples", "0"), "'--examples'"),
        (("check", "--sed", "1"), "'--sed'"),
        (("chekc",), "'chekc'"),
        (("--colour",), "'--colour'"),
        (("clauses", "NO.SUCH"), "'NO.SUCH'"),
        (("explain", "TIMER.FIRE.NO_SUCH"), "'TIMER.FIRE.NO_SUCH'"),
        (("explain", "TIMER.FIRE"), "TIMER.FIRE is a prefix"),
        (("explain",), "'ID[@DIGEST]'"),
        (("judge", "no such file"), "'no such file'"),
    ],
)
def test_a_wrong_request_is_one_line_that_names_it(
    campaign: FakeCampaign, args: tuple[str, ...], named: str
) -> None:
    assert named in refused(run(*args))
    assert campaign.asked == []


def test_what_the_campaign_refuses_is_one_line(campaign: FakeCampaign) -> None:
    campaign.answer = UsageError("no loop is named 'nosuch': there are asyncio, refloop")
    result = run("check", "nosuch")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "loopspec: no loop is named 'nosuch': there are asyncio, refloop"


# --- the real campaign, in a process of its own --------------------------------------------------------


@pytest.mark.full
def start(*args: str, path: Path | None = None) -> subprocess.Popen[str]:
    """Start the command line as a terminal does, in a process group of its own, with ``path`` importable."""
    return subprocess.Popen(
        [sys.executable, "-c", "from loopspec.conformance.cli import main; main()", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | ({} if path is None else {"PYTHONPATH": os.pathsep.join([str(path), *sys.path])}),
    )


def test_ctrl_c_shows_the_table_of_what_is_known() -> None:
    with start("check", "asyncio", "--examples", "1000000", "--clause", "TIMER") as process:
        assert process.stderr is not None
        begun = process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate()
    assert begun.startswith("asyncio: ")
    assert "TIMER.FIRE.NEVER_EARLY" in out
    assert err.splitlines()[-1] == "loopspec: asyncio: interrupted"
    assert process.returncode == 130


@pytest.mark.full
def test_an_adapter_that_raises_on_import_spares_the_other_loops(tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text("raise RuntimeError('not today')\n")
    metadata = tmp_path / "raising-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: raising\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[loopspec.loops]\nraising = raising:Loop\n")
    with start(
        "check", "raising", "asyncio", "--examples", "2", "--seed", "1", "--clause", "TIMER", path=tmp_path
    ) as process:
        out, err = process.communicate()
    complaint = err.splitlines()[-1]
    assert complaint.startswith("loopspec: raising: ")
    assert "RuntimeError: not today" in complaint
    assert "asyncio 3." in out
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("args", "named"),
    [(("no_such_loop",), "'no_such_loop'"), (("asyncio", "--replay", "no token"), "no token")],
)
def test_the_campaign_refuses_in_one_line(args: tuple[str, ...], named: str) -> None:
    with start("check", *args) as process:
        _, err = process.communicate()
    (line,) = err.splitlines()
    assert line.startswith("loopspec: ")
    assert named in line
    assert process.returncode == 2


# --- judge --------------------------------------------------------------------------------------------


KEEPS = (TimerCancel(1, 1, retained=False), TimerFire(1, 2, 5))
BREAKS = (TimerCancel(1, 1, retained=False), TimerFire(2, 1, 5))


def test_a_trace_that_keeps_its_clauses_ends_with_0() -> None:
    result = run("judge", "-", "--clause", SILENT.id, stdin=trace(*KEEPS))
    assert result.exit_code == 0
    assert f"{SILENT.id}   ✓ pass 1" in result.stdout
    assert result.stderr == ""


def test_a_refused_event_is_told_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "run.ndjson"
    file.write_text(trace(*KEEPS, *BREAKS), encoding="utf-8")
    result = run("judge", str(file), "--clause", SILENT.id)
    assert result.exit_code == 1
    at = result.stdout.splitlines().index(next(line for line in result.stdout.splitlines() if ":5  " in line))
    shown = [line.strip() for line in result.stdout.splitlines()[at : at + 5]]
    assert shown[0].startswith(f"{file}:5  ✗ FAIL  {SILENT.id}@")
    assert shown[1:] == [
        "event     TimerFire: fire timer 1 at 5 ns",
        "allowed   silence",
        "observed  a timer fired",
        "demands   What was cancelled keeps silent.",
    ]


def test_what_a_trace_cannot_show_is_not_observed() -> None:
    stream = io.StringIO()
    write(stream, Header("mine", frozenset({"TimerFire"})), [TimerFire(1, 1, 5)])
    result = run("judge", "-", "--clause", SILENT.id, stdin=stream.getvalue())
    assert result.exit_code == 0
    assert "– not observed" in result.stdout
    assert "mine: 1 not observed" in result.stdout


def test_a_broken_line_ends_the_trace_and_what_came_before_is_kept() -> None:
    result = run("judge", "-", "--clause", SILENT.id, stdin=trace(*BREAKS) + '{"event":"TimerFir')
    assert "✗ FAIL 1/2" in result.stdout
    assert refused(result).startswith("-: line 4: no JSON: ")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "line 1: no loopspec trace header"),
        ("\udcff\udcfe", "line 1: no loopspec trace header"),
        ('{"loopspec-trace": 999, "loop": "mine", "shows": []}', "line 1: trace format 999"),
        ('{"loopspec-trace": 1, "loop": "mine", "shows": ["Nothing"]}', "line 1: the header wants"),
    ],
    ids=["empty", "binary", "another version", "unknown events"],
)
def test_a_file_that_is_no_trace_is_one_line(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "run.ndjson"
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert refused(run("judge", str(file))).startswith(f"{file}: {named}")


# --- the register -------------------------------------------------------------------------------------


def test_clauses_shows_what_the_selector_names_and_nothing_else() -> None:
    result = run("clauses", "TIMER.FIRE")
    assert result.exit_code == 0
    assert EARLY.id in result.stdout
    assert SILENT.id not in result.stdout


def test_explain_shows_sentence_digest_and_rule() -> None:
    result = run("explain", SILENT.id)
    assert result.exit_code == 0
    assert "sentence  What was cancelled keeps silent." in result.stdout
    assert "class Silence" in result.stdout


def test_explain_tells_of_a_citation_whether_it_stands() -> None:
    stale = run("explain", f"{SILENT.id}@00000000")
    assert "class Silence" in stale.stdout
    assert "has changed since it was cited" in refused(stale)
    digest = SILENT.digest
    assert run("explain", f"{SILENT.id}@{digest}").exit_code == 0


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",), ("--version",), ("check", "--help")])
def test_help_is_no_error(args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.exit_code == 0
    assert result.stdout
    assert result.stderr == ""
