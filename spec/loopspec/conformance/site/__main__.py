"""Builds the site: ``python -m loopspec.conformance.site DIR``, from the root of a checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from loopspec.clause import AREAS, register
from loopspec.conformance.site.checking import faults
from loopspec.conformance.site.pages import SiteError, anchors, pages

_CONFIGURATION = """\
site_name: loopspec
docs_dir: pages
site_dir: html
theme: {name: null, custom_dir: theme}
plugins: []
extra_css: [style.css]
markdown_extensions:
  - attr_list
  - tables
  - toc: {toc_depth: 2, permalink: "#"}
  - pymdownx.details
  - pymdownx.superfences
  - pymdownx.highlight: {guess_lang: false}
validation: {omitted_files: warn, absolute_links: warn, unrecognized_links: warn, anchors: warn}
nav:
"""
"""The theme is one template and one sheet: those that come with mkdocs load scripts from elsewhere."""

_HERE = Path(__file__).parent


def build(root: Path, where: Path) -> Path:
    """Build the site of the checkout at ``root`` inside ``where``; the directory of the HTML.

    Raises :class:`SiteError`, with a line for each fault.
    """
    sources, made = where / "pages", pages(root)
    shutil.rmtree(where, ignore_errors=True)
    sources.mkdir(parents=True)
    for name, text in made.items():
        (sources / name).write_text(text, encoding="utf-8")
    for picture in sorted((root / "docs").glob("*.svg")):
        shutil.copy(picture, sources)
    (sources / "style.css").write_text(_style(), encoding="utf-8")
    shutil.copytree(_HERE / "theme", where / "theme")
    (where / "mkdocs.yml").write_text(_CONFIGURATION + _navigation(list(made)), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "-f",
        str(where / "mkdocs.yml"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SiteError(ran.stderr.strip() or ran.stdout.strip())
    wrong = list(faults((where / "html").resolve(), anchors(register())))
    if wrong:
        raise SiteError("\n".join(wrong))
    return where / "html"


def _navigation(names: list[str]) -> str:
    areas = [f"{area}.md" for area in AREAS]
    others = [name for name in names if name not in (*areas, "index.md", "proofs.md")]
    lines = ["- Overview: index.md", "- Areas:", *(f"  - {name[:-3].upper()}: {name}" for name in areas)]
    lines += ["- Proofs: proofs.md", *(f"- {name[:-3].capitalize()}: {name}" for name in others)]
    return "".join(f"  {line}\n" for line in lines)


def _style() -> str:
    dark = f"@media screen and (prefers-color-scheme: dark) {{\n{_colours('github-dark')}}}\n"
    return _colours("default") + dark + (_HERE / "style.css").read_text(encoding="utf-8")


def _colours(style: str) -> str:
    """The sheet of one of the styles of Pygments."""
    command = [sys.executable, "-m", "pygments", "-S", style, "-f", "html", "-a", ".highlight"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Build into the directory that is named; one line a fault, and exit status 1."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m loopspec.conformance.site DIR")
    try:
        sys.stdout.write(f"{build(Path.cwd(), Path(sys.argv[1]))}\n")
    except SiteError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
