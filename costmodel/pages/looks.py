"""Looks: the colours of a page, light and dark, and the style of its grids.

Bokeh paints a plot's axes, grids and texts in the colours of variables called ``--bk-<property>``.
"""

from __future__ import annotations

from collections.abc import Mapping


def _scheme(page: str, raised: str, ink: str, quiet: str, rule: str, link: str) -> dict[str, str]:
    own = {"page": page, "raised": raised, "ink": ink, "quiet": quiet, "rule": rule, "link": link}
    plots = {
        "background-fill-color": page,
        "border-fill-color": page,
        "outline-line-color": rule,
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
    "#ffffff", "#f4f6f8", "#1b1f24", "#57606a", "#d5dae0", "#00568a"
)
DARK: Mapping[str, str] = _scheme("#15181d", "#1e232a", "#e6e8eb", "#a3abb5", "#3a414b", "#6fc0f5")
#: Style of a grid; it has a root of its own, into which only variables reach.
GRID = """
:host { border: 1px solid var(--rule); border-radius: 6px; overflow: hidden; }
"""
