"""refloop compiled: the same sources, built by mypyc into an optional wheel (``make compiled``).

Pure Python is what is installed unless somebody asks for this, and is the authority. No source is changed on
the way: ``modules.toml`` says what is compiled and why the rest is not, a plugin of mypy (``opening.py``)
asks for what a class of the interpreter can do and a compiled one cannot, and ``weakrefs.h`` mends the C.

This is a build hook of hatchling, off unless the build asks for it. The wheel is loopspec's own, by the name
and the version of the other, and with all the sources: Python finds an extension before the source beside
it.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "compiled"


class CompiledHook(BuildHookInterface):  # type: ignore[misc]  # hatchling is there only while it builds
    """Compiles what ``modules.toml`` names."""

    def initialize(self, _version: str, build_data: dict[str, object]) -> None:
        """Build, and say that the wheel is for one version of Python and one platform."""
        os.chdir(self.root)  # mypyc names what it writes by the paths that it is given
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] = {
            str(built): str(built.relative_to(BUILD / "lib")) for built in _extensions()
        }


def _extensions() -> list[Path]:
    modules = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))["compiled"]
    extensions = mypycify(
        ["--config-file", str(HERE / "mypy.ini"), *(f"impl/refloop/{name}.py" for name in modules)],
        target_dir=str(BUILD / "c"),
        group_name="refloop",
    )
    for extension in extensions:
        extension.extra_compile_args += ["-include", str(HERE / "weakrefs.h")]
    build = build_ext(Distribution({"name": "refloop", "ext_modules": extensions}))
    build.build_lib = str(BUILD / "lib")
    build.build_temp = str(BUILD / "temp")
    build.ensure_finalized()
    build.run()
    return [Path(built) for built in build.get_outputs()]
