"""Draws what the networks of a sweep cost and are worth, a panel for each device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from costmodel.errors import InvalidInputError
from costmodel.plots.canvas import BLUE, GREY, check_picture, new_figure, plain_grid, save

#: Device, cost, metric, whether none of its device is better in both, and the unit of the cost.
Point = tuple[str, float, float, bool, str]


def plot_sweep(points: Sequence[Point], metric: str, path: Path) -> Path:
    """Draw cost and metric of networks; those that none beats are joined by a line.

    Args:
        points: at least one.
        metric: what its numbers are.
        path: file to write; its suffix chooses the format.

    Returns:
        ``path``.

    Raises:
        InvalidInputError: for no point, another suffix, or a path that cannot be written.
        MissingDependencyError: without matplotlib.
    """
    check_picture(path)
    if not points:
        message = "There is no network to draw. Give at least one."
        raise InvalidInputError(message)
    devices = list(dict.fromkeys(point[0] for point in points))
    figure = new_figure(max(5.0, 4.2 * len(devices)), 4.0)
    panels = figure.subplots(1, len(devices), squeeze=False)[0]
    for axes, device in zip(panels, devices, strict=True):
        own = [point for point in points if point[0] == device]
        best = sorted((point for point in own if point[3]), key=lambda point: point[1])
        others = [point for point in own if not point[3]]
        axes.scatter([p[1] for p in others], [p[2] for p in others], s=22, color=GREY)
        axes.plot([p[1] for p in best], [p[2] for p in best], color=BLUE, marker="o", linewidth=1.1)
        axes.set(xlabel=own[0][4], ylabel=metric, title=device)
        plain_grid(axes)
    return save(figure, path)
