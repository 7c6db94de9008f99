"""What the operators make of a file: each change as a piece of text put in another's place.

The operators are mutmut's, and two of ours for what it has none: what is called for its effect alone, or
raised, is left out, and a bare condition is turned round. Left alone is what no behaviour hangs on, or what
the suite compares word by word anyway: annotations, decorators (the register's digests), ``__slots__``,
aliases of types, members of enumerations, assertions, and the text of errors that are raised. Of the three
things that mutmut does to a string one is enough. A change that compiles to the same code is none.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, pairwise
from types import CodeType

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, CodeSpan, MetadataWrapper
from mutmut.mutation.mutators import mutation_operators

_TYPES = frozenset({"TypeAlias", "TypeVar", "NewType", "ParamSpec"})
_ENUMERATIONS = frozenset({"Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"})


@dataclass(frozen=True, order=True)
class Name:
    """Which change this is, in words that stay when lines move: in ``function`` of ``file`` the text ``old``
    became ``new``, where that is so for the ``nth`` time."""

    file: str
    function: str
    old: str
    new: str
    nth: int = 0


@dataclass(frozen=True)
class Change:
    """One mutant: what of the source, from byte ``start`` to byte ``end``, becomes ``text``.

    ``lines`` are those of what is changed, and ``around`` those of the function that it is in.
    """

    name: Name
    lines: range
    around: range
    start: int
    end: int
    text: str

    def of(self, source: str) -> str:
        """The source with this change in it."""
        raw = source.encode()
        return (raw[: self.start] + self.text.encode() + raw[self.end :]).decode()

    def key(self, source: str) -> str:
        """What says that a result is that of this mutant: the statement of the module that it changes,
        mostly a class or a function, as it then reads."""
        raw = source.encode()
        begin, end = next(span for span in _statements(source) if span[0] <= self.start < span[1])
        changed = raw[begin : self.start] + self.text.encode() + raw[self.end : end]
        return hashlib.sha256(self.name.file.encode() + b"\n" + changed).hexdigest()[:16]


@cache
def _statements(source: str) -> list[tuple[int, int]]:
    """From which byte of ``source`` to which each statement of the module goes, with what is before it."""
    ends = [*accumulate(map(len, source.encode().splitlines(keepends=True)))]
    last = [ends[each.end_lineno - 1] for each in ast.parse(source).body if each.end_lineno is not None]
    return [*pairwise((0, *last))]


def changes(file: str, source: str) -> list[Change]:
    """Every change of ``source``, the text of ``file``, in the order of the text."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    finder = _Finder(file, source, wrapper.module)
    wrapper.visit(finder)
    seen: Counter[Name] = Counter()
    found = []
    original = compile(source, file, "exec", dont_inherit=True)
    for name, lines, around, start, end, text in finder.found:
        change = Change(replace(name, nth=seen[name]), lines, around, start, end, text)
        if _changes_something(change, source, original):
            seen[name] += 1
            found.append(change)
    return found


def _changes_something(change: Change, source: str, original: CodeType) -> bool:
    try:
        changed = compile(change.of(source), change.name.file, "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return changed != original


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (ByteSpanPositionProvider,)

    def __init__(self, file: str, source: str, module: cst.Module) -> None:
        super().__init__()
        self.found: list[tuple[Name, range, range, int, int, str]] = []
        self._file = file
        self._raw = source.encode()
        self._module = module
        self._within: list[str] = []
        self._around: list[range] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _left_alone(node):
            return False
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self._within.append(node.name.value)
            self._around.append(self._lines(*self._place(node)))
        span = self.get_metadata(ByteSpanPositionProvider, node, None)
        if isinstance(span, CodeSpan):
            for start, end, text in self._replacements(node, span):
                self._add(start, end, text)
        return not isinstance(node, cst.Raise)

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, (cst.FunctionDef, cst.ClassDef)) and not _left_alone(original_node):
            self._within.pop()
            self._around.pop()

    def _replacements(self, node: cst.CSTNode, span: CodeSpan) -> Iterator[tuple[int, int, str]]:
        start, end = span.start, span.start + span.length
        match node:
            case cst.Match():
                yield from self._without_a_case(node)
                return
            case cst.If(test=condition) | cst.While(test=condition):
                if isinstance(condition, (cst.Name, cst.Attribute, cst.Call)):
                    yield self._turned_round(condition)
            case _:
                pass
        for changed in _changed(node):
            text = self._module.code_for_node(changed).strip()
            yield start, end, _of_as_many_lines(text, self._raw[start:end].decode())

    def _turned_round(self, condition: cst.BaseExpression) -> tuple[int, int, str]:
        start, end = self._place(condition)
        return start, end, f"not {self._raw[start:end].decode()}"

    def _without_a_case(self, match: cst.Match) -> Iterator[tuple[int, int, str]]:
        if len(match.cases) < 2:
            return
        for case in match.cases:
            start, end = self._place(case)
            if b"assert_never" in self._raw[start:end]:
                continue
            yield start, end, "\n" * self._raw[start:end].count(b"\n")

    def _place(self, node: cst.CSTNode) -> tuple[int, int]:
        span = self.get_metadata(ByteSpanPositionProvider, node)
        assert isinstance(span, CodeSpan)
        return span.start, span.start + span.length

    def _lines(self, start: int, end: int) -> range:
        first = self._raw[:start].count(b"\n") + 1
        return range(first, first + self._raw[start:end].count(b"\n") + 1)

    def _add(self, start: int, end: int, text: str) -> None:
        lines = self._lines(start, end)
        begin = self._raw.rfind(b"\n", 0, start) + 1
        stop = self._raw.find(b"\n", end)
        before, after = self._raw[begin:start].decode(), self._raw[end : stop if stop >= 0 else None].decode()
        old = _one_line(before + self._raw[start:end].decode() + after)
        new = _one_line(before + text + after)
        name = Name(self._file, ".".join(self._within), old, new)
        around = self._around[-1] if self._around else lines
        self.found.append((name, lines, around, start, end, text))


def _changed(node: cst.CSTNode) -> Iterable[cst.CSTNode]:
    match node:
        case cst.SimpleString():
            return list(_by_operators(node))[:1]
        case cst.Raise() | cst.Expr(value=cst.Call() | cst.Await()):
            return [cst.Pass()]
        case _:
            return _by_operators(node)


def _by_operators(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            yield from operator(node)


def _left_alone(node: cst.CSTNode) -> bool:
    """Whether nothing below ``node`` is to be changed."""
    match node:
        case cst.Annotation() | cst.Decorator() | cst.Assert():
            return True
        case cst.FunctionDef(name=cst.Name("__repr__")):
            return True
        case cst.ClassDef(bases=bases):
            return any(_named(base.value) in _ENUMERATIONS for base in bases)
        case cst.If(test=cst.Name("TYPE_CHECKING")):
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name("__slots__" | "__all__"))]):
            return True
        case cst.Assign(value=cst.Call(func=function)):
            return _named(function) in _TYPES
        case cst.AnnAssign(annotation=cst.Annotation(annotation=annotation)):
            return _named(annotation) in _TYPES
        case cst.Call(func=cst.Name("len" | "isinstance")):
            return True
        case cst.Expr(value=cst.Call(func=cst.Name("assert_never"))):
            return True
        case cst.Param(default=default):
            return not isinstance(default, (cst.Name, cst.BaseNumber, cst.SimpleString))
        case _:
            return False


def _named(node: cst.BaseExpression) -> str:
    match node:
        case cst.Name(name) | cst.Attribute(attr=cst.Name(name)):
            return name
        case _:
            return ""


def _of_as_many_lines(text: str, instead_of: str) -> str:
    """``text`` with as many lines as what it takes the place of, where a bracket lets it: what comes after
    stays where it was."""
    missing = instead_of.count("\n") - text.count("\n")
    if missing > 0 and text[-1] in ")]}":
        return text[:-1] + "\n" * missing + text[-1]
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())
