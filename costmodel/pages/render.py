"""Rendering: sections into one HTML file that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import bokeh
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.events import DocumentReady
from bokeh.models import CustomJS, DataTable, Plot, RadioButtonGroup, Select
from bokeh.resources import INLINE
from jinja2 import Environment

from costmodel.pages.looks import DARK, GRID, LIGHT, SELECT
from costmodel.pages.parts import Section

#: Colour schemes to choose from.
SCHEMES = ("as the system", "light", "dark")
_SWITCH = """
document.documentElement.dataset.colours = ["system", "light", "dark"][cb_obj.active]
for (const plot of plots) { plot.change.emit() }
"""
#: Canvases are painted once, so they are painted again when the system changes its colours.
_FOLLOW = """
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of plots) { plot.change.emit() }
})
"""


def render(sections: Sequence[Section], title: str, version: str) -> str:
    """The HTML of a page.

    Args:
        sections: in order.
        title: of the page.
        version: of this package, which the page tells.
    """
    document = Document()
    named = [_named(section, document) for section in sections]
    plots = list(document.select({"type": Plot}))
    for kind, style in ((DataTable, GRID), (Select, SELECT)):
        for widget in document.select({"type": kind}):
            widget.stylesheets = [style]
    switch = RadioButtonGroup(labels=list(SCHEMES), active=0, name="switch")
    switch.js_on_change("active", CustomJS(args={"plots": plots}, code=_SWITCH))
    document.js_on_event(DocumentReady, CustomJS(args={"plots": plots}, code=_FOLLOW))
    document.add_root(switch)
    template = files("costmodel.pages").joinpath("page.html").read_text(encoding="utf-8")
    page: str = file_html(
        document,
        INLINE,
        title,
        template=Environment(autoescape=True).from_string(template),
        template_variables={
            "sections": named,
            "switch": switch.name,
            "light": LIGHT,
            "dark": DARK,
            "version": version,
            "bokeh_version": bokeh.__version__,
        },
    )
    return page


def _named(section: Section, document: Document) -> Section:
    """A section with names in the place of widgets and plots, which the document gets."""

    def name_of(item: Any) -> str:
        item.name = f"root{len(document.roots)}"
        document.add_root(item)
        return str(item.name)

    parts = [
        replace(
            part,
            controls=[name_of(item) for item in part.controls],
            plots=[name_of(item) for item in part.plots],
        )
        for part in section.parts
    ]
    return replace(section, parts=parts)
