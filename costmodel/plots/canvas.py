"""Canvas: figures, ticks, colours and files, the only place that needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.errors import InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

#: File formats that are written, by suffix.
SUFFIXES = (".png", ".svg", ".pdf")
#: Colours of Okabe and Ito, which people with any colour vision tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
#: Grid lines.
PALE = "#dddddd"

_DPI = 150


def check_suffix(path: Path) -> None:
    """Refuse a file format that is not written, before any work is done for it.

    Raises:
        InvalidInputError: naming the suffixes that are.
    """
    if path.suffix.lower() not in SUFFIXES:
        message = f"A picture cannot be written as {path.name!r}. Its name must end in " + (
            ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}."
        )
        raise InvalidInputError(message)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    # Not pyplot: it keeps state, looks for a display, and holds every figure in memory.
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        package, extra, what = "matplotlib", "report", "Drawing a picture"
        raise MissingDependencyError(package, extra, what) from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> Path:
    """Write the figure in the format of the suffix, and return ``path``.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    try:
        figure.savefig(path, dpi=_DPI)
    except OSError as error:
        message = f"The picture {path} cannot be written ({error.strerror or error})."
        raise InvalidInputError(message) from error
    return path


def plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis 1, 2, 5, 10 instead of with powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
