"""Parts of a page: headings, sentences, facts, and the plots and widgets below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.report.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Key:
    """One line of a legend, which is text: it wraps, and is read aloud.

    Attributes:
        sign: a character that looks like the mark.
        colour: of the mark.
        text: what it means.
    """

    sign: str
    colour: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One heading and what is below it, in this order.

    Attributes:
        title: the heading.
        text: what it shows and how to read it.
        controls: widgets, side by side where there is room.
        legend: of the plots.
        plots: plots and grids, one below the other.
        sheets: tables of texts.
    """

    title: str
    text: str = ""
    controls: Sequence[Any] = ()
    legend: Sequence[Key] = ()
    plots: Sequence[Any] = ()
    sheets: Sequence[Sheet] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Everything about one table, prediction, set of comparisons or morph.

    Attributes:
        kind: what it is: ``Table``, ``Prediction``, ``Comparison`` or ``Morph``.
        title: whose.
        facts: first of all, the numbers that matter most.
        parts: in order.
    """

    kind: str
    title: str
    facts: Sequence[Sheet]
    parts: Sequence[Part]
