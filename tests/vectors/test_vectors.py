"""Vectors: what they hold, that they come out the same again, and what the live kernel says of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from loopspec.clause import register
from loopspec.conformance.cli import main
from loopspec.conformance.vectors import kernel, loop
from loopspec.judge import Judge
from loopspec.trace import decode

#: What cannot be asked where time is the vector's.
NOT_ASKED = {"EPOLL.WAIT.NOT_EARLY"}


def _write(directory: Path, hashes: str) -> dict[str, bytes]:
    """The files that a fresh interpreter writes, whose hashes are seeded so."""
    program = "import sys; from loopspec.conformance.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, "vectors", str(directory)]
    environment = os.environ | {"PYTHONHASHSEED": hashes}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return {file.name: file.read_bytes() for file in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vectors")
    _write(directory, "1")
    return directory


@pytest.mark.full
def test_regenerating_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in sorted(written.iterdir())}
    assert _write(tmp_path / "again", "2") == before
    assert before.keys() == {"README.md", "kernel.json", "loop.json", "run_kernel.c"}


# --- the kernel's ---------------------------------------------------------------------------------------


def test_a_vector_is_drawn_the_same_way_each_time_and_every_way_leads_on() -> None:
    first = kernel.vector(0)
    assert first == kernel.vector(0)
    steps = first["steps"]
    assert isinstance(steps, list)
    assert len(steps) == kernel.CALLS
    nodes = 1
    for entry in steps:
        assert len(entry["allowed"]) == nodes
        following = {allowed["next"] for node in entry["allowed"] for allowed in node}
        assert following == set(range(len(following)))
        nodes = len(following)
        for node in entry["allowed"]:
            told = [json.dumps([allowed["result"], allowed["woken"]]) for allowed in node]
            assert told
            assert len(told) == len(set(told))


@pytest.mark.full
def test_every_clause_of_the_model_is_asked_ten_times() -> None:
    asked = Counter(kernel.clauses_of(kernel.document()))
    of_model = {id for id, entry in register().items() if not entry.watches}
    assert {id for id in of_model if asked[id] < 10} == NOT_ASKED


@pytest.fixture(scope="module")
def runner(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner in C, built without a warning."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.fail("gcc is missing, and the runner in C is not tested: install it", pytrace=False)
    program = tmp_path_factory.mktemp("runner") / "run_kernel"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run([compiler, *flags, "-o", program, written / "run_kernel.c"], check=True)
    return program


def _run(program: Path, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, file], capture_output=True, text=True, check=False)


@pytest.mark.full
def test_the_live_kernel_keeps_every_vector(runner: Path, written: Path) -> None:
    found = _run(runner, written / "kernel.json")
    assert (found.returncode, found.stderr) == (0, "")
    calls = kernel.VECTORS * kernel.CALLS
    assert found.stdout == f"{kernel.VECTORS} of {kernel.VECTORS} vectors kept, {calls} calls\n"


@pytest.mark.full
def test_the_runner_refuses_what_a_vector_does_not_allow_and_says_what_it_does(
    runner: Path, written: Path, tmp_path: Path
) -> None:
    document = json.loads((written / "kernel.json").read_text(encoding="utf-8"))
    entry = document["vectors"][0]["steps"][0]
    allowed = entry["allowed"][0][0]
    observed, allowed["result"] = allowed["result"], ["error", "EMFILE"]
    spoilt = tmp_path / "kernel.json"
    spoilt.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    found = _run(runner, spoilt)
    assert found.returncode == 1
    told = found.stdout.splitlines()
    assert told[0] == "drawn-0, step 0"
    assert told[2] == f"  observed  {json.dumps(observed, separators=(',', ':'))}, woken null"
    assert told[3].startswith('  allowed   ["error","EMFILE"], woken null by [')
    calls = kernel.VECTORS * kernel.CALLS
    assert told[4] == f"{kernel.VECTORS - 1} of {kernel.VECTORS} vectors kept, {calls} calls"


@pytest.mark.full
def test_the_runner_tells_a_wake_up_that_was_lost_and_one_that_nobody_asked_for(
    runner: Path, written: Path, tmp_path: Path
) -> None:
    """Given vectors that expect no wake-up where there is one, and one where there is none."""
    document = json.loads((written / "kernel.json").read_text(encoding="utf-8"))
    steps = [entry for vector in document["vectors"] for entry in vector["steps"]]
    ways = [allowed for entry in steps for node in entry["allowed"] for allowed in node]
    woken = next(allowed for allowed in ways if allowed["woken"] is not None)
    suspended = next(allowed for allowed in ways if allowed["result"] == ["suspended"])
    woken["woken"], suspended["result"] = None, ["done"]
    spoilt = tmp_path / "kernel.json"
    spoilt.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    found = _run(runner, spoilt)
    assert found.returncode == 1
    assert '  observed  ["suspended"], woken null' in found.stdout
    assert "vectors kept" in found.stdout


@pytest.mark.full
def test_who_waits_is_woken_in_every_way_there_is() -> None:
    document = kernel.document()
    seen = Counter[str]()
    for vector in document["vectors"]:  # type: ignore[attr-defined] # JSON
        for entry in vector["steps"]:
            call = entry["call"]
            ways = [allowed for node in entry["allowed"] for allowed in node]
            seen[f"{call['by']} {call['name']}"] += 1
            seen["wakes: " + call["name"]] += any(way["woken"] is not None for way in ways)
            seen["suspends: " + call["name"]] += any(way["result"] == ["suspended"] for way in ways)
    wakers = ("write", "read", "close", "epoll_ctl", "shutdown", "abort", "advance", "connect")
    assert [name for name in wakers if not seen["wakes: " + name]] == []
    assert [name for name in ("epoll_wait", "read", "write", "accept") if not seen["suspends: " + name]] == []
    assert [name for name in ("epoll_ctl", "epoll_wait", "close", "exit") if not seen["2 " + name]] == []


@pytest.mark.full
@pytest.mark.parametrize("text", ["", "{", '{"loopspec-kernel-vectors":1}', "[1,2", '{"a":nothing}'])
def test_the_runner_refuses_what_is_no_file_of_vectors_in_a_line(
    runner: Path, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "kernel.json"
    file.write_text(text, encoding="utf-8")
    found = _run(runner, file)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("run_kernel: ")
    assert len(found.stderr.splitlines()) == 1


# --- the loop's -----------------------------------------------------------------------------------------


@pytest.mark.full
def test_every_trace_is_kept_and_every_alteration_refused_where_it_says(written: Path) -> None:
    document = json.loads((written / "loop.json").read_text(encoding="utf-8"))
    clauses = [entry for entry in register().values() if entry.watches]
    judge = Judge(clauses, frozenset(document["shows"]))
    broken = set()
    for vector in document["vectors"]:
        trace = [decode(json.dumps(event)) for event in vector["trace"]]
        for event in trace:
            judge.after(event)
        assert judge.violations == []
        judge.restart()
        for altered in vector["altered"]:
            spoilt = list(trace)
            if "without" in altered:
                del spoilt[altered["without"]]
            else:
                place = altered["exchanged"]
                spoilt[place : place + 2] = [spoilt[place + 1], spoilt[place]]
            for event in spoilt:
                judge.after(event)
            refused = [[found.clause, found.position] for found in judge.violations]
            assert refused == altered["refused"] != []
            broken |= {clause for clause, _ in refused}
            judge.restart()
    assert len(broken) > len(clauses) / 3


def test_schedules_are_of_the_families_and_none_comes_twice() -> None:
    tokens = [token for _, token in loop.schedules()]
    assert len(tokens) == len(set(tokens)) > 20


# --- the command line -----------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_made_is_refused_in_a_line() -> None:
    found = CliRunner().invoke(main, ["vectors", "/proc/nowhere"])
    assert (found.exit_code, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith("loopspec: cannot write into /proc/nowhere: ")
    assert CliRunner().invoke(main, ["vectors"]).exit_code == 2
