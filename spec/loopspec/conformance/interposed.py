"""Interposition: a shared library's calls into the C library, answered from Python.

A loop written in C that takes neither a poller nor a clock has one seam all the same: it is dynamically
linked, and each call that leaves it goes through a slot of its global offset table, which the linker fills.
What a preloaded library does at the start of a process is done here to one library while it is loaded, by
writing the slot: the loop's own code runs as it is, and only where it would ask the kernel the answer is
another. Nothing is preloaded, no other library is touched, and the slots can be put back.

Only 64-bit ELF with explicit addends, and slots that can be written (no ``BIND_NOW`` with ``RELRO``): what
else is met is refused by :class:`InterposeError`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

_PT_DYNAMIC, _DT_STRTAB, _DT_SYMTAB, _DT_JMPREL, _DT_PLTRELSZ = 2, 5, 6, 23, 2


class InterposeError(RuntimeError):
    """The library has no such slot, or one that cannot be written."""


def slots(library: Path, names: Iterable[str]) -> Mapping[str, int]:
    """The addresses, in this process, of the slots by which ``library``, which is loaded, calls ``names``.

    Raises :class:`InterposeError` for a name that it does not call, or a slot that cannot be written.
    """
    mapped = [
        line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(library) in line
    ]
    if not mapped:
        raise InterposeError(f"{library} is not loaded")
    base = int(mapped[0][0].partition("-")[0], 16)
    writable = [tuple(int(end, 16) for end in line[0].split("-")) for line in mapped if "w" in line[1]]
    found = {name: base + offset for name, offset in _calls(library.read_bytes()) if name in set(names)}
    for name in names:
        if name not in found:
            raise InterposeError(f"{library.name} does not call {name}")
        if not any(low <= found[name] < high for low, high in writable):
            raise InterposeError(f"the slot of {name} in {library.name} cannot be written")
    return found


def _calls(elf: bytes) -> list[tuple[str, int]]:
    """Every function that is called through a slot, with the offset of the slot."""
    if elf[:5] != b"\x7fELF\x02":
        raise InterposeError("not a 64-bit ELF file")
    (headers,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQ", elf, headers + size * number) for number in range(count)]

    def place(address: int) -> int:
        for kind, _, offset, virtual, _, length in segments:
            if kind == 1 and virtual <= address < virtual + length:
                return int(offset + address - virtual)
        raise InterposeError("a table of the file is in no segment")

    ((_, _, dynamic, _, _, length),) = [segment for segment in segments if segment[0] == _PT_DYNAMIC]
    tags = dict(struct.unpack_from("<QQ", elf, dynamic + at) for at in range(0, length, 16))
    strings, symbols, relocations = (place(tags[tag]) for tag in (_DT_STRTAB, _DT_SYMTAB, _DT_JMPREL))
    calls = []
    for at in range(relocations, relocations + tags[_DT_PLTRELSZ], 24):
        slot, info = struct.unpack_from("<QQ", elf, at)
        (name,) = struct.unpack_from("<I", elf, symbols + 24 * (info >> 32))
        calls.append((elf[strings + name : elf.index(b"\0", strings + name)].decode(), slot))
    return calls


class Interposed:
    """Answers the calls of a library: ``answers`` maps a name to a ctypes function."""

    def __init__(self, library: Path, answers: Mapping[str, Callable[..., int]]) -> None:
        self._kept = dict(answers)  # a callback that is let go of is called all the same
        self._before: dict[int, int] = {}
        for name, slot in slots(library, tuple(answers)).items():
            cell = ctypes.c_void_p.from_address(slot)
            self._before[slot] = cell.value or 0
            cell.value = ctypes.cast(answers[name], ctypes.c_void_p).value  # type: ignore[arg-type]

    def restore(self) -> None:
        """Put back what was there."""
        for slot, address in self._before.items():
            ctypes.c_void_p.from_address(slot).value = address
