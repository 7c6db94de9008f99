"""What is wrong with a built site: a clause that is on no page, a reference that leads nowhere, a place
outside.

mkdocs checks the links between its sources; this reads what came out, since what is read is that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value for name, value in attrs if value}
        if "id" in named:
            self.anchors.append(named["id"])
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        elif tag in ("link", "script", "img"):
            self.loads += [named[name] for name in ("href", "src") if name in named]


def faults(site: Path, places: Mapping[str, str]) -> Iterator[str]:
    """A line for each fault of the site in directory ``site``; ``places`` says where each clause is to be."""
    read = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    for id, name in places.items():
        page = read.get(site / name)
        times = 0 if page is None else page.anchors.count(id)
        if times != 1:
            yield f"{id} has {times} places on {name}, and needs one"
    for file, page in read.items():
        if file.name == "404.html":
            continue
        here = file.relative_to(site)
        yield from (f"{here} loads {place} from outside" for place in page.loads if _is_outside(place))
        missing = (place for place in page.loads if urlsplit(place).path and not _is_outside(place))
        yield from (
            f"{here} loads {place}, which is not there" for place in missing if not _is_there(file, place)
        )
        for link in page.links:
            wrong = None if _is_outside(link) else _wrong(file, link, read)
            if wrong is not None:
                yield f"{here} links to {link}: {wrong}"


def _is_outside(place: str) -> bool:
    parts = urlsplit(place)
    return parts.scheme != "data" and bool(parts.scheme or parts.netloc)


def _is_there(file: Path, place: str) -> bool:
    return urlsplit(place).scheme == "data" or (file.parent / unquote(urlsplit(place).path)).exists()


def _wrong(file: Path, link: str, read: Mapping[Path, _Page]) -> str | None:
    path, anchor = unquote(urlsplit(link).path), unquote(urlsplit(link).fragment)
    target = (file.parent / path).resolve() if path else file
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "no such page"
    if anchor and target in read and anchor not in read[target].anchors:
        return "no such anchor"
    return None
