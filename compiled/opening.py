"""A plugin of mypy that leaves the classes of refloop open: interpreted ones may derive from compiled ones.

mypyc closes a class unless a decorator of its own says otherwise, and the decorator would have to be imported
at run time, where refloop imports the standard library only. The plugin decorates the tree that mypyc reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy.nodes import ARG_NAMED, GDEF, CallExpr, MypyFile, NameExpr, SymbolTableNode, Var
from mypy.plugin import ClassDefContext, Plugin
from mypy.types import AnyType, TypeOfAny

DECORATOR: Final = "mypyc_attr"
ITS_OWN: Final = frozenset({"enum.Enum", "builtins.BaseException"})
"""Whoever derives from these is a class of the interpreter anyway."""


class Opening(Plugin):
    """Decorates every class of refloop that mypyc would close."""

    def get_customize_class_mro_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        return _open if fullname.startswith("refloop.") else None


def _open(context: ClassDefContext) -> None:
    cls = context.cls
    if cls.info.is_protocol or cls.decorators or any(base.fullname in ITS_OWN for base in cls.info.mro):
        return
    _know_the_decorator(context.api.modules[cls.info.module_name])
    cls.decorators.append(
        CallExpr(NameExpr(DECORATOR), [NameExpr("True")], [ARG_NAMED], ["allow_interpreted_subclasses"])
    )


def _know_the_decorator(module: MypyFile) -> None:
    decorator = Var(DECORATOR, AnyType(TypeOfAny.special_form))
    decorator._fullname = f"mypy_extensions.{DECORATOR}"
    module.names.setdefault(DECORATOR, SymbolTableNode(GDEF, decorator, module_public=False))


def plugin(_version: str) -> type[Plugin]:
    """What mypy asks of a plugin's module."""
    return Opening
