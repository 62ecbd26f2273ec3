"""Preset: what is known about the columns of one public file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How a known file is read.

    Attributes:
        name: for ``--preset``.
        signature: columns that together only this file has.
        tidy: makes tidy rows (``costmodel.tidy.rows``) from rows of the file.
        source: who measured and published it.
        licence: under which the numbers may be passed on.
        notes: what is taken for granted about the file, one sentence each.
    """

    name: str
    signature: frozenset[str]
    tidy: Callable[[pd.DataFrame], pd.DataFrame]
    source: str
    licence: str
    notes: tuple[str, ...] = ()


def mapped(column: pd.Series, words: Mapping[str, str]) -> pd.Series:
    """Texts by other words; those without another word stay."""
    return column.map(lambda text: words.get(text, text))
