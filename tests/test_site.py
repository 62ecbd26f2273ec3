"""The documentation's site: it is made without a warning, whole, and fits a phone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import build_site  # noqa: E402
import site_pages  # noqa: E402

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
#: Pages of every sort: text, tables, notebooks, generated ones, figures.
SORTS = (
    *("README", "docs/quickstart", "docs/other-tools", "docs/commands", "docs/api"),
    *("docs/notebooks/predict", "docs/notebooks/morph", "docs/results/README", "docs/morphnet"),
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made once."""
    if not all(map(find_spec, ("sphinx", "furo", "myst_nb", "ipykernel"))):
        pytest.skip("needs the docs extra")
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "build_site.py"), str(folder)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def text_of(site: Path, page: str) -> str:
    return (site / f"{page}.html").read_text(encoding="utf-8")


@pytest.mark.keras
def test_every_page_is_there(site: Path) -> None:
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("profiles/**/*.md"), *NOTEBOOKS]
    pages += [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")]
    wanted = [page.relative_to(ROOT).with_suffix(".html") for page in pages]
    assert [str(page) for page in wanted if not (site / page).is_file()] == []
    assert "README.html" in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.keras
def test_the_front_page_leads_to_all_that_docs_lists(site: Path) -> None:
    listed = re.findall(r"\]\(([\w./-]+)\.(?:md|ipynb)\)", (ROOT / "docs/README.md").read_text())
    assert len(listed) > 20
    front = text_of(site, "README")
    links = [os.path.normpath(f"docs/{page}.html") for page in listed]
    assert [link for link in links if f'href="{link}"' not in front] == []


@pytest.mark.keras
def test_every_verb_and_option_is_there(site: Path) -> None:
    text = text_of(site, "docs/commands")
    for program, module in site_pages.PROGRAMS.items():
        for verb in import_module(module).app.info.cls.order:
            assert f'id="{program}-{verb}"' in text
    assert "--max-regression" in text


@pytest.mark.keras
def test_every_stable_name_is_there(site: Path) -> None:
    text = text_of(site, "docs/api")
    for module in site_pages.MODULES:
        for name in getattr(import_module(module), "__all__", ()):
            assert f'id="{module}.{name}"' in text


@pytest.mark.keras
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_show_what_they_print(site: Path, notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)  # made anew, not kept
    text = text_of(site, f"docs/notebooks/{notebook.stem}")
    assert text.count("cell_output") >= 4
    assert "Traceback" not in text


@pytest.mark.keras
@pytest.mark.parametrize("width", [400, 1400])
def test_pages_fit_a_phone_and_a_screen(site: Path, tmp_path: Path, width: int) -> None:
    program = find_chromium()
    if program is None:
        pytest.skip("needs chromium: run scripts/tools, or install it")
    with Chromium(program, tmp_path / "home", (width, 900)) as browser:
        wide = {}
        for page in SORTS:
            browser.open((site / f"{page}.html").as_uri())
            wide[page] = browser.evaluate("document.documentElement.scrollWidth")
        assert {page: found for page, found in wide.items() if found > width} == {}
        assert browser.errors == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">.</a><a href="b.html#there">.</a><a href="#nowhere">.</a>'
        '<a href="https://example.org">.</a><a href="c.html">.</a><img src="d.png">',
        encoding="utf-8",
    )
    (tmp_path / "b.html").write_text('<p id="there">', encoding="utf-8")
    found = ["a.html: #nowhere", "a.html: c.html", "a.html: d.png"]
    assert build_site.broken_links(tmp_path) == found


def test_the_tree_of_pages_is_that_of_its_index() -> None:
    index = (
        "# All\n\n## Begin\n\n- [One](one.md): it\n- [Two](../two.md)\n\n## End\n\n- [N](n.ipynb)\n"
    )
    begin, end = site_pages.toctrees(index)
    assert ":caption: Begin\n\ndocs/one\ntwo\n" in begin
    assert ":caption: End\n\ndocs/n\n" in end


def test_pages_are_completed() -> None:
    assert site_pages.completed("README", "# A\n", "trees") == "# A\ntrees"
    assert site_pages.completed("docs/json", "# A\n", "trees") == "# A\n"
    assert "orphan" in site_pages.completed("docs/README", "# A\n", "")
    assert "*/*" in site_pages.completed("profiles/README", "# A\n", "")


def test_commands_say_what_their_help_says() -> None:
    text = "".join(site_pages.commands())
    assert "### costmodel predict\n" in text
    assert "| `-t, --table T` |" in text
    assert "```sh\ncostmodel predict net.onnx --table cpu.jsonl\n" in text
