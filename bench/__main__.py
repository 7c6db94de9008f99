"""``python -m bench [NAME ...]``: take figures and print them; ``--write`` puts them into a document."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from bench.benches import BENCHES, Settings, Table, absent, outcomes
from bench.document import terminal, told, write
from bench.measure import BenchError, allow_many_descriptors, built_load


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all was measured, 1 something could not be, 2 bad usage, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="What refloop costs beside its peers; those that are not installed are left out.",
        epilog="benches:\n" + "\n".join(f"  {name:<18}{_sentence(name)}" for name in BENCHES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benches; all if none is named")
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument(
        "--quick", action="store_true", help="fewer rounds and settings: three minutes at most"
    )
    how_much.add_argument(
        "--smoke", action="store_true", help="one tiny round: shows that it runs, and no more"
    )
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its pictures")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        return _refuse(f"there is no bench {unknown[0]!r}: name some of {', '.join(BENCHES)}")
    if options.write and options.names:
        return _refuse("the document has all figures or none: leave the names out, or --write")
    if len(os.sched_getaffinity(0)) < 2:
        return _refuse("server and load need a processor each, and there is one: allow this process two")
    try:
        return _measure(options.names or list(BENCHES), options.quick, options.smoke, options.write)
    except BenchError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        _say("interrupted")
        return 130


def _sentence(name: str) -> str:
    return (BENCHES[name].__doc__ or "").strip().rstrip(".")


def _refuse(line: str) -> int:
    _say(line)
    return 2


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


def _measure(names: Sequence[str], quick: bool, smoke: bool, document: bool) -> int:
    allow_many_descriptors()
    for package, why in absent().items():
        _say(f"{package} is left out: {why}; `pip install -e '.[bench]'` installs the peers")
    tables: list[Table] = []
    status, before, began = 0, os.getloadavg()[0], time.monotonic()
    with built_load() as program:
        settings = Settings(program)
        if quick:
            settings = replace(
                settings,
                rounds=3,
                few=1,
                measure=150,
                sizes=(64,),
                counted=("refloop", "asyncio streams", "bare epoll"),
                requests=1_000,
                scale=0.5,
                memory=(100_000,),
            )
        if smoke:
            settings = replace(
                settings,
                rounds=1,
                few=1,
                measure=10,
                sizes=(64,),
                connections=(2, 3),
                counted=("refloop",),
                requests=10,
                idle=100,
                scale=0,
                memory=(1_000,),
            )
        for name in names:
            _say(f"{name} ({time.monotonic() - began:.0f} s)")
            try:
                found = BENCHES[name](settings)
            except BenchError as error:
                _say(f"{name} was not measured: {error}")
                status = 1
                continue
            if not found:
                _say(f"{name} was left out: valgrind is not installed")
            tables += found
            sys.stdout.write(terminal(found) + "\n")
            sys.stdout.flush()
    if not smoke:
        sys.stdout.write(told(outcomes(tables)) + "\n")
    if document:
        write(tables, settings, before, os.getloadavg()[0])
    return status


if __name__ == "__main__":
    sys.exit(main())
