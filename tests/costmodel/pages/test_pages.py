"""Pages in a browser: nothing is wrong, nothing is asked for, and what can be moved moves."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from shown import NASTY

KINDS = ("table", "prediction", "comparison", "morph")
#: Largest page, in bytes.
LARGEST = 6e6
BACKGROUND = "getComputedStyle(document.body).backgroundColor"

Pages = dict[str, Path]


def model(title: str) -> str:
    """Expression for the widget with a title."""
    return (
        "[...Bokeh.documents[0]._all_models.values()]"
        f".find((item) => item.title === {title!r} && 'js_property_callbacks' in item)"
    )


def source_with(column: str) -> str:
    """Expression for the data of the source that has a column."""
    return (
        "[...Bokeh.documents[0]._all_models.values()]"
        f".find((item) => item.type == 'ColumnDataSource' && {column!r} in item.data)"
    )


def column(name: str) -> str:
    """Expression for a column as a list."""
    return f"Array.from({source_with(name)}.data[{name!r}])"


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_one_file_that_fits_anywhere(browser: Browser, pages: Pages, kind: str) -> None:
    assert pages[kind].stat().st_size <= LARGEST
    browser.look(width=1400)
    browser.show(pages[kind])
    missing = browser.evaluate(
        "Array.from(document.querySelectorAll('[data-root-id]')).filter("
        "(item) => item.childElementCount == 0 || item.firstElementChild.clientHeight == 0).length"
    )
    assert missing == 0
    unnamed = browser.evaluate(
        "Array.from(document.querySelectorAll('main section')).filter("
        "(item) => !item.ariaLabel && !item.hasAttribute('aria-labelledby')).length"
    )
    assert unnamed == 0
    assert browser.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    browser.look(width=400, dark=True)
    browser.settle()
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400
    assert browser.evaluate(BACKGROUND) == "rgb(21, 24, 29)"
    assert browser.errors == []
    assert browser.asked == []


def test_what_is_shown_is_never_run(browser: Browser, pages: Pages) -> None:
    for kind in ("prediction", "comparison", "morph"):
        browser.show(pages[kind])
        assert browser.errors == []
        assert browser.evaluate("document.querySelectorAll('img').length") == 0
        shown = browser.evaluate("document.body.innerText")
        assert (NASTY in shown) == (kind != "morph")  # there it is the name of a bar


def test_controls_choose_the_staircase(browser: Browser, pages: Pages) -> None:
    browser.look(width=1400)
    browser.show(pages["table"])
    seen = []
    for title, value in ((None, None), ("Kernel", "1x1"), ("Stride", "2"), ("Input size", "28x28")):
        if title is not None:
            control = model(title)
            assert value in browser.evaluate(f"{control}.options")
            other = browser.evaluate(f"{control}.options.find((item) => item != {control}.value)")
            browser.evaluate(f"void ({control}.value = {other!r})")
            browser.settle()
        chart = "document.querySelector('[aria-label^=Staircase] .plot')"
        seen.append((browser.evaluate(column("envelope")), browser.pixels(chart)))
    for before, after in pairwise(seen):
        assert before[0] != after[0]
        assert before[1] != after[1]
    assert browser.errors == []


def test_the_colours_can_be_chosen(browser: Browser, pages: Pages) -> None:
    browser.look(width=700)
    browser.show(pages["morph"])
    light = browser.pixels()
    browser.evaluate("void (Bokeh.documents[0].get_model_by_name('switch').active = 2)")
    browser.settle()
    chosen = browser.pixels()
    assert browser.evaluate(BACKGROUND) == "rgb(21, 24, 29)"
    browser.look(width=700, dark=True)
    browser.show(pages["morph"])
    browser.evaluate("void (Bokeh.documents[0].get_model_by_name('switch').active = 2)")
    browser.settle()
    # Canvases were painted again: nothing of the light ones is left.
    assert chosen == browser.pixels() != light


def test_a_filter_and_an_order_hold_for_the_kernels(browser: Browser, pages: Pages) -> None:
    browser.look(width=1400)
    browser.show(pages["table"])
    browser.evaluate(f"void ({model('Filter kernels')}.value_input = '3x3  28X28')")
    browser.settle()
    table = "[...Bokeh.documents[0]._all_models.values()].find((item) => item.type == 'DataTable')"
    kept: list[int] = browser.evaluate(f"Array.from({table}.view.indices)")
    labels: list[str] = browser.evaluate(column("label"))
    assert kept == [i for i, label in enumerate(labels) if "3x3" in label and "28x28" in label]
    assert 0 < len(kept) < len(labels)
    browser.evaluate(f"void ({model('Order kernels')}.value = 'measured ms: most')")
    times: list[float] = browser.evaluate(column("left_out").replace("left_out']", "measured']"))
    assert times == sorted(times, reverse=True)
    assert browser.errors == []


def test_a_picked_layer_picks_its_kernel(browser: Browser, pages: Pages) -> None:
    browser.look(width=1400)
    browser.show(pages["prediction"])
    layers, kernels, rows = (source_with(name) for name in ("covers", "together", "left_out"))
    browser.evaluate(f"void ({layers}.selected.indices = [1])")
    picked: Any = [
        browser.evaluate(f"{item}.selected.indices.map((row) => {item}.data.digest[row])")
        for item in (layers, kernels, rows)
    ]
    assert picked[0] == picked[1] * 2  # both layers of the kernel
    assert picked[2] in ([], picked[1])
    assert len(picked[1]) == 1
    assert browser.errors == []


def test_the_account_of_another_network(browser: Browser, pages: Pages) -> None:
    browser.look(width=1400)
    browser.show(pages["comparison"])
    before = browser.evaluate(column("right"))
    browser.evaluate(f"void ({model('Network')}.value = 'two')")
    browser.settle()
    after = browser.evaluate(column("right"))
    assert before != after
    names: list[str] = browser.evaluate(column("hatch").replace("hatch']", "name']"))
    assert [name.split("\n")[0] for name in names][-1] == "measured"
    assert browser.errors == []


def test_a_keyboard_is_enough(browser: Browser, pages: Pages) -> None:
    """The first stop is the way past the contents; then links, then controls that hear keys."""
    browser.look(width=1400)
    browser.show(pages["table"])
    stops = []
    for _ in range(40):
        press(browser, "Tab", 9)
        stops.append(browser.evaluate(FOCUSED))
    assert stops[0] == "Skip to the content"
    assert {"Predicted against measured", "INPUT", "SELECT"} <= set(stops)


#: What has the focus: the text of a link, or the sort of element inside a widget.
FOCUSED = """
(() => {
  let found = document.activeElement
  while (found.shadowRoot?.activeElement) { found = found.shadowRoot.activeElement }
  return found.tagName == "A" ? found.innerText : found.tagName
})()
"""


def press(browser: Browser, key: str, code: int) -> None:
    for event in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=event, key=key, code=key, windowsVirtualKeyCode=code
        )
