"""Preset: what is known about the columns of one public file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from costmodel.tidy.cells import Commas, numbers
from costmodel.tidy.kernel import UnusableRow

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How a known file is read.

    Attributes:
        name: for ``--preset``.
        signature: columns that together only this file has.
        texts: columns that are not numbers.
        tidy: makes tidy rows (``costmodel.tidy.rows``) from rows of the file.
        source: who measured and published it.
        licence: under which the numbers may be passed on.
        notes: what is taken for granted about the file, one sentence each.
    """

    name: str
    signature: frozenset[str]
    texts: frozenset[str]
    tidy: Callable[[pd.DataFrame], pd.DataFrame]
    source: str
    licence: str
    notes: tuple[str, ...] = ()

    def rows(self, frame: pd.DataFrame, commas: Commas, first_row: int) -> pd.DataFrame:
        """Tidy rows of the next rows of a file.

        Args:
            frame: rows of the file; numbers may be texts.
            commas: what they mean in this file.
            first_row: number of the first row.
        """
        import pandas as pd

        plain = frame.copy()
        reasons: dict[int, UnusableRow] = {}
        for name in plain.columns:
            if name in self.texts:
                cells = plain[name].astype(object)
                plain[name] = cells.where(cells.notna() & (cells != ""), None)
            else:
                plain[name], wrong = numbers(plain[name], commas, first_row)
                reasons |= {place: error for error, places in wrong for place in places.tolist()}
        tidy = self.tidy(plain)
        if reasons:
            known = tidy["reason"] if "reason" in tidy else pd.Series("", index=tidy.index)
            told = pd.Series(reasons, dtype=object).reindex(tidy.index)
            tidy["reason"] = known.where(told.isna(), told)
        return tidy


def mapped(column: pd.Series, words: Mapping[str, str]) -> pd.Series:
    """Texts by other words; those without another word stay."""
    return column.map(lambda text: words.get(text, text))
