"""Which kernels are alike: what a table of some kinds says about others, and where that ends.

A law fitted to one row, or to rows of one size, fits them by any of its terms: its price elsewhere
is a guess. What holds whatever the law is said here, from the rows alone: no kernel is faster than
the fastest of its family, and a kernel takes at least a row's time by the least ratio of their
amounts and at most by the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from costmodel.costs.features import PLAIN_TERMS, Table
from costmodel.kinds import (
    CONV_KINDS,
    ELEMENTWISE,
    MOVES,
    REDUCTIONS,
    RELABELS,
    ROW_NORMS,
    WINDOWS,
)
from costmodel.products import PRODUCT_KINDS

Floats = NDArray[np.float64]
Key = TypeVar("Key")

PRODUCT, RELABEL = "product", "relabel"
#: Kinds by what their loops are like.
_CLASSES: Mapping[str, frozenset[str]] = {
    "elementwise": ELEMENTWISE,
    "move": MOVES - RELABELS,
    "normalisation": ROW_NORMS | {"group_norm", "instance_norm"},
    PRODUCT: CONV_KINDS | PRODUCT_KINDS,
    RELABEL: RELABELS,
    "window": REDUCTIONS | WINDOWS,
}
#: Classes whose kinds run loops so alike that one may be priced by the others.
SHARED = frozenset({"elementwise", "move", RELABEL, "window"})
#: Ops compared with all rows at once, so that the comparison stays in the caches.
_CHUNK = 256


def class_of(kind: str) -> str:
    """What the loops of a kind are like; a kind like no other is a class of its own.

    >>> class_of("conv"), class_of("gemm"), class_of("flatten"), class_of("lrn")
    ('product', 'product', 'relabel', 'lrn')
    """
    return _CLASS_OF.get(kind, kind)


_CLASS_OF = {kind: name for name, kinds in _CLASSES.items() for kind in kinds}


class Likeness:
    """What measured rows allow for other kernels.

    Args:
        table: the rows' Ops as columns.
        latency_ms: ``(rows,)`` measured times.
        paths: execution path of each row.
        kinds: kind of each row.
        dtypes: element type of each row.
    """

    def __init__(
        self,
        table: Table,
        latency_ms: Floats,
        paths: Sequence[str],
        kinds: Sequence[str],
        dtypes: Sequence[str],
    ) -> None:
        self._amounts = _amounts(table)
        self._latency_ms = latency_ms
        self._paths = _rows_by(paths)
        self._paths_of_kind = _names_by(kinds, paths)
        self._paths_of_class = _names_by((class_of(kind) for kind in kinds), paths)
        rates = _counts(table) / latency_ms[:, None]
        families = [_family(kind) for kind in kinds]
        own = _rows_by(zip(families, dtypes, strict=True))
        any_type = _rows_by((name, "") for name in families)
        self._best = {name: rates[rows].max(axis=0) for name, rows in (own | any_type).items()}

    def floor_ms(self, table: Table, kinds: Sequence[str], dtypes: Sequence[str]) -> Floats:
        """What each kernel takes at the best rates ever measured for its family.

        Products have multiply-adds and bytes per ms, all other kinds together bytes per ms, of rows
        of the own element type where there are any; 0 for a family that no row is of, and for kinds
        that may touch no memory.
        """
        pairs = list(zip(kinds, dtypes, strict=True))
        number = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        best = np.array([self._rates(*pair) for pair in number]).reshape(len(number), 2)
        each = best[np.fromiter((number[pair] for pair in pairs), dtype=np.intp, count=len(pairs))]
        return np.asarray(_ratios(_counts(table), each).max(axis=1))

    def _rates(self, kind: str, dtype: str) -> Floats:
        name = _family(kind)
        found = self._best.get((name, dtype), self._best.get((name, "")))
        return found if found is not None and name != RELABEL else np.zeros(2)

    def is_sparse(self, path: str, fewest: int) -> bool:
        """Whether fewer than so many rows took an execution path."""
        return len(self._paths.get(path, ())) < fewest

    def allowed_ms(
        self, table: Table, rows: NDArray[np.int_], path: str, kind: str
    ) -> tuple[Floats, Floats]:
        """The shortest and the longest that kernels may take by any law that explains the rows.

        Where no row took their path, the paths of their kind, or else of their class, are asked:
        the fastest and the slowest of them answer.

        Args:
            table: kernels as columns.
            rows: those of one path.
            path: their execution path.
            kind: their kind.
        """
        known: Sequence[str] = self._paths_of_kind.get(kind, ())
        if path in self._paths:
            known = [path]
        known = known or self._paths_of_class.get(class_of(kind), ())
        if not known:
            return np.zeros(len(rows)), np.zeros(len(rows))
        wanted = _amounts(table)[rows]
        shortest, longest = zip(
            *(self._allowed(wanted, self._paths[name]) for name in known), strict=True
        )
        return np.asarray(np.min(shortest, axis=0)), np.asarray(np.max(longest, axis=0))

    def _allowed(self, wanted: Floats, rows: NDArray[np.int_]) -> tuple[Floats, Floats]:
        have, latency_ms = self._amounts[rows], self._latency_ms[rows]
        shortest, longest = np.empty(len(wanted)), np.empty(len(wanted))
        for start in range(0, len(wanted), _CHUNK):
            part = slice(start, start + _CHUNK)
            ratios = _ratios(wanted[part, None, :], have)
            longest[part] = (ratios.max(axis=2) * latency_ms).min(axis=1)
            least = np.where(have > 0, ratios, np.inf).min(axis=2)
            shortest[part] = (least * latency_ms).max(axis=1)
        return shortest, longest


def _family(kind: str) -> str:
    """Kinds among which one best rate holds: products, relabellings, and all others."""
    name = class_of(kind)
    return name if name in {PRODUCT, RELABEL} else "other"


def _amounts(table: Table) -> Floats:
    """What time grows with in every kind, the constant included."""
    return table.terms[:, : len(PLAIN_TERMS)]


def _counts(table: Table) -> Floats:
    """What best rates are of."""
    return np.stack([table.multiply_adds, table.bytes], axis=1)


def _ratios(wanted: Floats, have: Floats) -> Floats:
    """``wanted / have``; 0 where there is none of it."""
    return np.divide(wanted, have, out=np.zeros(np.broadcast_shapes(wanted.shape, have.shape)),
                     where=have > 0)  # fmt: skip


def _rows_by(names: Iterable[Key]) -> dict[Key, NDArray[np.int_]]:
    found: dict[Key, list[int]] = {}
    for index, name in enumerate(names):
        found.setdefault(name, []).append(index)
    return {name: np.array(rows) for name, rows in found.items()}


def _names_by(keys: Iterable[str], names: Iterable[str]) -> Mapping[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for key, name in zip(keys, names, strict=True):
        found.setdefault(key, {})[name] = None
    return {key: list(values) for key, values in found.items()}
