"""The benchmarks run. What they measure is nobody's business here: a figure is no verdict."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import benches, document
from bench.benches import BENCHES, OURS, Settings, Table, outcomes
from bench.measure import COMPILED, Spread, ratio
from bench.plots import Chart, svg

ROOT = Path(__file__).parents[2]


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_names_every_bench() -> None:
    done = _bench("--help")
    assert done.returncode == 0
    assert [name for name in BENCHES if f"  {name} " not in done.stdout] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("eccho",), "'eccho'"), (("--write", "echo"), "--write")],
)
def test_bad_usage_is_one_line_that_names_it(arguments: tuple[str, ...], named: str) -> None:
    done = _bench(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert named in done.stderr
    assert done.stdout == ""


@pytest.mark.full
@pytest.mark.skipif(not (shutil.which("gcc") or shutil.which("cc")), reason="the load generator is C")
@pytest.mark.parametrize("name", BENCHES)
def test_a_tiny_round_of_each_bench_gives_figures_of_refloop(name: str) -> None:
    done = _bench("--smoke", name)
    assert done.returncode == 0, done.stderr
    assert OURS in done.stdout or "left out" in done.stderr


def test_what_cannot_be_imported_is_left_out_and_why_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benches, "PEERS", ("no_such_peer", "json"))
    monkeypatch.setattr(benches, "absent", benches.absent.__wrapped__)  # asked anew
    assert benches.absent() == {"no_such_peer": "ModuleNotFoundError: No module named 'no_such_peer'"}
    assert benches.present(["no_such_peer", "json", "refloop"]) == ["json", "refloop"]


def test_a_ratio_is_taken_within_a_round() -> None:
    assert ratio([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == Spread(3.0, 2.0, 4.0)


def _table(title: str, ours: float, peer: float) -> Table:
    return Table(title, "ns", {"a <setting> & all": {OURS: [ours], "asyncio": [peer]}})


@pytest.mark.parametrize(("peer", "met"), [(40.0, True), (39.0, False)])
def test_a_target_is_met_from_its_ratio_on(peer: float, met: bool) -> None:
    (outcome,) = outcomes([_table("switch", 10.0, peer)])
    assert outcome.met is met


def test_beside_a_target_stands_what_the_bare_loop_reaches() -> None:
    costs = {OURS: [10.0], "asyncio streams": [14.0], "bare epoll": [8.0]}
    found = outcomes([Table("echo", "µs", {"64 B": costs})])
    assert [(each.measured, each.met, each.floor) for each in found] == [
        ("1.40", False, "1.75"),
        ("0.80", True, ""),
    ]


@pytest.mark.parametrize(("microseconds", "met"), [(6.6, True), (6.7, False)])
def test_a_rate_is_met_from_its_number_a_second_on(microseconds: float, met: bool) -> None:
    (outcome,) = outcomes([Table("judge", "µs", {"all rules on": {OURS: [microseconds]}})])
    assert (outcome.wanted, outcome.met) == ("at least 150,000 events a second", met)


def test_a_picture_is_xml_with_a_bar_for_each_figure() -> None:
    panels = _table("task memory", 10.0, 20.0).panels
    root = ElementTree.fromstring(svg(Chart("a < b", "ns", panels)))
    _background, *bars = root.findall("{http://www.w3.org/2000/svg}rect")
    ours, peers = (float(bar.attrib["width"]) for bar in bars)
    assert ours * 2 == pytest.approx(peers, rel=0.01)


def test_the_document_has_every_table_and_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "DOCS", tmp_path)
    document.write([_table("switch", 1, 4), _table("task memory", 1, 2)], Settings(Path("load")), 0.0, 2.0)
    text = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "| asyncio | 4.00 | ×4.00 |" in text
    assert "| asyncio | 2.00 | ×2.00 |" in text
    assert (tmp_path / "memory.svg").exists()
    assert not (tmp_path / "growth.svg").exists()


@pytest.mark.parametrize(
    ("ours", "said"),
    [({OURS: [3.0], COMPILED: [2.0]}, "| switch, a | ×1.50 |"), ({OURS: [3.0]}, "There was no")],
)
def test_the_document_says_what_compiling_buys_where_it_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: dict[str, list[float]], said: str
) -> None:
    monkeypatch.setattr(document, "DOCS", tmp_path)
    document.write([Table("switch", "ns", {"a": ours})], Settings(Path("load")), 0.0, 2.0)
    _, section = (tmp_path / "performance.md").read_text(encoding="utf-8").split("## Compiled")
    assert said in section
