"""Canvas: figures, ticks, colours and files, the only place that needs matplotlib."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from costmodel.durable import written_whole
from costmodel.errors import InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

#: File formats that are written, by suffix.
SUFFIXES = (".png", ".svg", ".pdf")
#: Colours of Okabe and Ito, which people with any colour vision tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
#: Grid lines.
PALE = "#dddddd"

_DPI = 150


def check_picture(path: Path) -> None:
    """Refuse a picture that could not be written, before any work is done for it.

    Raises:
        InvalidInputError: for a suffix that names no known format, or a folder that is not there.
        MissingDependencyError: without matplotlib.
    """
    if path.suffix.lower() not in SUFFIXES:
        message = f"A picture cannot be written as {path.name!r}. Its name must end in " + (
            ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}."
        )
        raise InvalidInputError(message)
    if not path.parent.is_dir():
        message = f"The picture {path} cannot be written: there is no folder {path.parent}."
        raise InvalidInputError(message)
    if importlib.util.find_spec("matplotlib") is None:
        raise _missing()


def _missing() -> MissingDependencyError:
    package, extra, what = "matplotlib", "report", "Drawing a picture"
    return MissingDependencyError(package, extra, what)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    # Not pyplot: it keeps state, looks for a display, and holds every figure in memory.
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing() from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> Path:
    """Write the figure in the format of the suffix, and return ``path``.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    with written_whole(path, path.suffix) as temporary:
        figure.savefig(temporary, dpi=_DPI)
    return path


def plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis 1, 2, 5, 10 instead of with powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def plain_grid(axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Pale lines behind what is drawn."""
    axes.grid(visible=True, axis=axis, color=PALE, linewidth=0.6)


def paired_bars(
    names: Sequence[str], before: Sequence[float], after: Sequence[float]
) -> tuple[Figure, Axes, list[int]]:
    """A figure with two bars a name, the first name on top: what something was, and what it is.

    Returns:
        The figure, its axes, and the height at which each name is.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    figure = new_figure(9.0, max(2.6, 1.4 + 0.26 * len(names)))
    axes = figure.subplots()
    places = list(range(len(names)))[::-1]
    axes.barh(places, before, height=0.72, color=PALE, label="seed")
    axes.barh(places, after, height=0.40, color=BLUE, label="now")
    axes.set_yticks(places, [_short(name) for name in names], fontsize=7.5)
    axes.set_ylim(-0.7, len(names) - 0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes, places


def _short(name: str, most: int = 34) -> str:
    """The end of a long name, which is what tells layers apart."""
    return name if len(name) <= most else f"…{name[1 - most :]}"
