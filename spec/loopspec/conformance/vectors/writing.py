"""The directory of vectors: which files there are, and what is in each."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from loopspec.conformance.result import UsageError
from loopspec.conformance.vectors import kernel, loop

COPIED = ("README.md", "run_kernel.c")


def write(directory: Path) -> tuple[Path, ...]:
    """Write all files into ``directory``, which is made if it is not there; their paths.

    Raises :class:`UsageError` if it cannot be written. To be called on the main thread.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return tuple(_write(directory / name, content) for name, content in _contents().items())
    except OSError as error:
        raise UsageError(
            f"cannot write into {directory}: {error.strerror}; give a directory that can be written"
        ) from None


def _contents() -> dict[str, str]:
    here = resources.files("loopspec.conformance.vectors")
    documents = {"kernel.json": kernel.document(), "loop.json": loop.document()}
    return {
        **{name: here.joinpath(name).read_text(encoding="utf-8") for name in COPIED},
        **{
            name: json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"
            for name, document in documents.items()
        },
    }


def _write(file: Path, content: str) -> Path:
    file.write_text(content, encoding="utf-8")
    return file
