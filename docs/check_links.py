"""Check the built site: links lead somewhere, and nothing is loaded from elsewhere.

    python docs/check_links.py build/docs

Links to other sites are counted, not followed: a build needs no network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


@dataclass
class Page(HTMLParser):
    """What a page offers and what it wants.

    Attributes:
        ids: Fragments that can be linked to.
        links: Targets of ``<a href>``.
        loaded: Files that a browser loads with the page.
    """

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep ids, links and loaded files."""
        values = {name: value for name, value in attrs if value is not None}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values and values.get("rel") != "canonical":
            self.loaded.append(values[LOADED[tag]])


def read(folder: Path) -> dict[Path, Page]:
    """The pages below a folder."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        pages[path] = page = Page()
        page.feed(path.read_text(encoding="utf-8"))
    return pages


def faults(folder: Path) -> Iterator[str]:
    """A sentence for each link that leads nowhere, and each file that comes from elsewhere."""
    folder = folder.resolve()
    pages = read(folder)
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        for target in dict.fromkeys([*page.links, *page.loaded]):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loaded and parts.scheme != "data":
                    yield f"{name} loads {target}, which is not part of the site."
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                yield f"{name} links to {target}, and there is no such file."
            elif (
                file in pages and parts.fragment and unquote(parts.fragment) not in pages[file].ids
            ):
                yield f"{name} links to {target}, and that page has no such place."


def main(arguments: list[str]) -> int:
    """Print every fault; 1 if there is one."""
    folder = Path(arguments[0])
    if not (folder / "index.html").is_file():
        print(f"{folder} holds no site: there is no index.html. Run `make docs`.", file=sys.stderr)
        return 1
    sentences = list(faults(folder))
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
