"""Makes the documentation's site, and follows every link within it.

    python scripts/build_site.py build/site

Warnings are errors. Notebooks are run. Nothing is asked of a network.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from site_pages import MODULES, undocumented

ROOT = Path(__file__).resolve().parents[1]
#: The front page lies where those of the repository do.
INDEX = """<!doctype html>
<meta charset="utf-8">
<title>costmodel and MorphNet</title>
<meta http-equiv="refresh" content="0; url=README.html">
<a href="README.html">costmodel and MorphNet</a>
"""

_ID = re.compile(r'\bid="([^"]+)"')
_TARGET = re.compile(r'\b(?:href|src)="([^"]+)"')
_ELSEWHERE = re.compile(r"[a-z]+:|//")


def build(folder: Path) -> int:
    """Make the site.

    Args:
        folder: where to; what is there from an earlier time is used again.

    Returns:
        How Sphinx ended, 0 if all is well.
    """
    from sphinx.cmd.build import main as sphinx

    options = ["-q", "-W", "--keep-going", "-j", "2", "-c", str(ROOT / "docs")]
    with tempfile.TemporaryDirectory(prefix="site-") as own:
        # Notebooks time for seconds, and no number is judged: locks of their own.
        os.environ["TMPDIR"] = own
        ended = int(sphinx([*options, "-d", str(folder / ".read"), str(ROOT), str(folder)]))
    (folder / "index.html").write_text(INDEX, encoding="utf-8")
    return ended


def broken_links(folder: Path) -> list[str]:
    """Links of the site's pages to pages, places in pages and files that are not there."""
    pages = {page: page.read_text(encoding="utf-8") for page in sorted(folder.rglob("*.html"))}
    places = {page: set(map(html.unescape, _ID.findall(text))) for page, text in pages.items()}
    return [
        f"{page.relative_to(folder)}: {target}"
        for page, text in pages.items()
        for target in sorted(set(_targets(text)))
        if not _leads_somewhere(page, target, places)
    ]


def _targets(text: str) -> Iterator[str]:
    found = map(html.unescape, _TARGET.findall(text))
    return (target for target in found if not _ELSEWHERE.match(target))


def _leads_somewhere(page: Path, target: str, places: Mapping[Path, set[str]]) -> bool:
    name, _, place = target.partition("#")
    path = (page.parent / unquote(name.partition("?")[0])).resolve() if name else page
    if path not in places:
        return path.is_file()
    return not place or unquote(place) in places[path]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where to write it")
    folder = parser.parse_args().folder.resolve()
    started = time.perf_counter()
    silent = [key for name in MODULES for key in undocumented(name)]
    if silent:
        print(f"These public names have no docstring: {', '.join(silent)}.", file=sys.stderr)
        return 1
    ended = build(folder)
    broken = broken_links(folder)
    print("\n".join(f"No such place: {link}" for link in broken), end="\n" if broken else "")
    count = len(list(folder.rglob("*.html")))
    print(f"{count} pages in {folder}, {time.perf_counter() - started:.0f} s")
    return ended or int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
