"""Looks: the colours of a page, light and dark, and the style of its grids.

Bokeh paints a plot's axes, grids and texts in the colours of variables called ``--bk-<property>``.
"""

from __future__ import annotations

from collections.abc import Mapping


def _scheme(
    *, page: str, raised: str, ink: str, quiet: str, rule: str, link: str, picked: str
) -> dict[str, str]:
    own = {
        "page": page,
        "raised": raised,
        "ink": ink,
        "quiet": quiet,
        "rule": rule,
        "link": link,
        "picked": picked,
        "bokeh-icon-color": quiet,
    }
    plots = {
        "grid-line-color": rule,
        "axis-line-color": quiet,
        "major-tick-line-color": quiet,
        "minor-tick-line-color": rule,
        "major-label-text-color": ink,
        "axis-label-text-color": ink,
        "axis-label-text-font-style": "normal",
        "label-text-color": ink,
    }
    return {f"--{name}": value for name, value in own.items()} | {
        f"--bk-{name}": value for name, value in plots.items()
    }


#: Values of CSS variables in each scheme.
LIGHT: Mapping[str, str] = _scheme(
    page="#ffffff",
    raised="#f4f6f8",
    ink="#1b1f24",
    quiet="#57606a",
    rule="#d5dae0",
    link="#00568a",
    picked="#cfe6f7",
)
DARK: Mapping[str, str] = _scheme(
    page="#15181d",
    raised="#1e232a",
    ink="#e6e8eb",
    quiet="#a3abb5",
    rule="#3a414b",
    link="#6fc0f5",
    picked="#17466b",
)
#: Style of a grid; it has a root of its own, into which variables reach, and rules do not.
GRID = """
:host { border: 1px solid var(--rule); border-radius: 6px; overflow: hidden;
  --odd: var(--raised); --selected: var(--picked); }
.slick-header-columns, .slick-header-column.ui-state-default, .slick-header-column:hover {
  background: var(--raised); border-color: var(--rule); color: var(--ink); font-weight: 600; }
.slick-row, .slick-viewport { background: var(--page); color: var(--ink); }
.slick-row.odd { background: var(--raised); }
.slick-row.selected, .slick-cell.selected { background: var(--picked); }
.slick-cell { border-bottom-color: var(--rule); font-variant-numeric: tabular-nums; }
.slick-cell.active { border: 1px solid var(--link); }
"""
#: Style of a list to choose from: the system's own arrow, which knows dark from light.
SELECT = """
select.bk-input, select:not([size]).bk-input { appearance: auto; background-image: none; }
"""
