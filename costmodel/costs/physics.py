"""Physics: a non-negative sum of amounts that take time, one law per execution path.

``latency = sum_k coefficient[k] * amount[k]`` with all coefficients at least 0, fitted on relative
error. It is an additive roofline (Williams et al. 2009, with partial overlap absorbed by the
coefficients): readable as GMAC/s and GB/s, monotone, and trainable from a dozen rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from costmodel.costs.features import TERMS
from costmodel.costs.likeness import RELABEL, SHARED, class_of

Floats = NDArray[np.float64]

#: Fewest rows for a law of a path's own; below, the law of its family serves.
MIN_ROWS = 6
#: Rows that the family's law counts for in a path's own: paths of one family run the same loops.
_PRIOR_ROWS = 10.0
#: Rows that the law of its class, scaled to the family's own times, counts for in a family's: where
#: few rows, or rows of one size, leave open what a family's time grows with, its like decide.
_CLASS_ROWS = 1.0
#: The same of a path with too few rows for a law of its own: what it grows with, they may know.
_FEW_ROWS = 1.0
#: Paths unlike their family: matrix times vector, bound by reading weights, and depthwise.
_STRANGERS = (
    "/vector",
    "/depthwise",
    "/both",
    "/blocks",
    "/copy",
    "/scatter",
    "/swap",
    "/elements",
    "/inner",
    "/outer",
    "/between",
    "/linear",
    "/nearest",
)
#: Rows that an empty kernel, which takes as long as the least rows of a table, counts for in every
#: law: starting one kernel takes about as long as starting another, but rows that are all large
#: leave it open, and small kernels were then priced by what was left of large ones' errors. The
#: least rows are this quantile.
_EMPTY_ROWS, _LEAST = 0.002, 0.01
#: Most that one more piece may cost, in ms per million: about a call and a missed cache line. Few
#: rows, all of long pieces, would else charge by the piece what their bytes take.
_MOST_PER_PIECE = 20.0
#: Least latency a law may answer, in ms: nothing runs in no time.
FLOOR_MS = 1e-5
#: Least share of a row's time that is not what every run costs.
_LEAST_OWN = 0.1
_CONSTANT, _PIECES = TERMS.index("constant"), TERMS.index("pieces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Physics:
    """Coefficients per path, per kind and per class of kinds.

    Attributes:
        by_path: path to one coefficient per term, in ms per amount.
        by_kind: kind to coefficients, for paths that no row took.
        by_class: class to coefficients, for kinds that no row is of; of classes all of whose kinds
            run the same loops.
        terms: names of the terms.
    """

    by_path: Mapping[str, Floats]
    by_kind: Mapping[str, Floats]
    by_class: Mapping[str, Floats] = field(default_factory=dict)
    terms: tuple[str, ...] = TERMS

    def law_of(self, path: str, kind: str) -> Floats | None:
        """Coefficients for an Op; None where nothing of its kind or its like was measured."""
        own = self.by_path.get(path)
        own = self.by_kind.get(kind) if own is None else own
        return self.by_class.get(class_of(kind)) if own is None else own

    def parts(self, terms: Floats, paths: Sequence[str], kinds: Sequence[str]) -> Floats:
        """What each term takes, in ms per row of ``terms``; NaN where no law applies."""
        parts = np.full(terms.shape, np.nan)
        groups: dict[tuple[str, str], list[int]] = {}
        for index, key in enumerate(zip(paths, kinds, strict=True)):
            groups.setdefault(key, []).append(index)
        for (path, kind), rows in groups.items():
            law = self.law_of(path, kind)
            if law is not None:
                parts[rows] = terms[rows] * law
        return parts

    def price(self, terms: Floats, paths: Sequence[str], kinds: Sequence[str]) -> Floats:
        """Base latency in ms per row of ``terms``; NaN where no law applies."""
        return base_of(self.parts(terms, paths, kinds))

    def describe(self) -> dict[str, dict[str, float]]:
        """The laws for people: ms per million multiply-adds or elements, zeros left out."""
        return {
            path: {name: float(c) for name, c in zip(self.terms, law, strict=True) if c > 0}
            for path, law in self.by_path.items()
        }


def _family(path: str) -> str:
    """Paths whose laws lean on each other: those of one convolution layout."""
    return path.partition("/")[0]


def base_of(parts: Floats) -> Floats:
    """Base latency in ms from what each term takes."""
    return np.asarray(np.maximum(parts.sum(axis=1), FLOOR_MS))


def make_up(parts: Floats) -> Floats:
    """``(rows, terms + 1)``: each term's share of the base latency, and its logarithm.

    What the residual needs to know of a shape is mostly which term dominates it.
    """
    base = base_of(parts)[:, None]
    return np.hstack([np.nan_to_num(parts / base), np.log2(np.nan_to_num(base, nan=1.0))])


def fit_physics(
    terms: Floats,
    latency_ms: Floats,
    weights: Floats,
    paths: Sequence[str],
    kinds: Sequence[str],
    names: tuple[str, ...] = TERMS,
) -> Physics:
    """Fit the laws.

    Args:
        terms: ``(rows, len(names))`` amounts.
        latency_ms: ``(rows,)`` measured times.
        weights: ``(rows,)`` trust in each row, larger is better.
        paths: execution path of each row.
        kinds: kind of each row.
        names: of the terms, ``TERMS`` first.
    """
    # A GPU's laws have terms of their own for what a launch costs.
    is_known = len(paths) > 0 and names == TERMS
    law = partial(_law, empty_ms=float(np.quantile(latency_ms, _LEAST)) if is_known else None)
    path_of, kind_of = np.asarray(paths), np.asarray(kinds)
    class_names = np.asarray([class_of(kind) for kind in kinds])
    family_of = np.asarray([_family(path) for path in paths])
    classes = {
        name: law(*(part[class_names == name] for part in (terms, latency_ms, weights)))
        for name in sorted(set(class_names))
    }

    def like_others(mine: NDArray[np.bool_]) -> Floats:
        """The law of some rows of one class, which leans on that of the class a little."""
        own = terms[mine], latency_ms[mine], weights[mine]
        name = str(class_names[mine][0])
        if name == RELABEL:  # some runtimes touch no memory for one kind and copy it for another
            return law(*own)
        shared = classes[name]
        slower = _typical(_slowness(own[0], own[1], shared))
        return law(*own, _slower(shared, slower), prior_rows=_CLASS_ROWS)

    families = {name: like_others(family_of == name) for name in sorted(set(family_of))}
    by_path: dict[str, Floats] = {}
    for path in sorted(set(paths)):
        rows = np.flatnonzero(path_of == path)
        family = families[_family(path)]
        by_path[path] = family
        if len(rows) >= MIN_ROWS and "/" in path:
            prior = None if path.endswith(_STRANGERS) else family
            by_path[path] = law(terms[rows], latency_ms[rows], weights[rows], prior)
        elif "/" in path:
            own = latency_ms[rows], weights[rows]
            paced = _slower(family, _pace(path, _slowness(terms[rows], own[0], family)))
            by_path[path] = law(terms[rows], *own, paced, prior_rows=_FEW_ROWS)
    return Physics(
        by_path=by_path,
        by_kind={kind: like_others(kind_of == kind) for kind in sorted(set(kinds))},
        by_class={name: law for name, law in classes.items() if name in SHARED},
        terms=names,
    )


def _slower(law: Floats, factor: float) -> Floats:
    """A law of which all but what every run costs takes so many times as long."""
    return np.where(np.arange(len(law)) == _CONSTANT, law, law * factor)


def _slowness(terms: Floats, latency_ms: Floats, law: Floats) -> Floats:
    """``(rows,)`` how much slower rows are than a law says, beside what every run costs."""
    start = law[_CONSTANT] * terms[:, _CONSTANT]
    own = np.maximum(latency_ms - start, _LEAST_OWN * latency_ms)
    return np.asarray(own / np.maximum(terms @ law - start, FLOOR_MS))


def _pace(path: str, slowness: Floats) -> float:
    """How much slower a few rows of a path are than the law of their family says.

    A path unlike its family is believed at once: an interpolation by columns was 16 times slower
    than copies of pixels, a transposition of single elements 25 times slower than one of blocks.
    """
    return _typical(slowness, doubt=0.25 if path.endswith(_STRANGERS) else 2.0)


def _typical(slowness: Floats, *, doubt: float = 0.0) -> float:
    """The median of factors, drawn towards 1 as if by ``doubt`` rows that say so."""
    count = len(slowness)
    return float(np.exp(np.median(np.log(slowness)) * count / (count + doubt)))


def _law(
    terms: Floats,
    latency_ms: Floats,
    weights: Floats,
    prior: Floats | None = None,
    *,
    prior_rows: float = _PRIOR_ROWS,
    empty_ms: float | None,
) -> Floats:
    """Non-negative least squares on relative error, twice: rows far off in the first count less.

    With a law to lean on, deviations from it are penalised by what they change in an average row,
    as if that row had been seen ``prior_rows`` times. ``empty_ms`` is about what starting a kernel
    takes; None where nobody knows.
    """
    weights = weights / weights.mean()
    law = _solve(terms / latency_ms[:, None], weights, prior, prior_rows, empty_ms)
    error = np.abs(np.log(np.maximum(terms @ law, FLOOR_MS) / latency_ms))
    # Huber weights (Huber 1964): a kernel that changed its algorithm must not bend the law.
    limit = max(2.0 * float(np.median(error)), 0.05)
    robust = weights * np.minimum(1.0, limit / np.maximum(error, 1e-9))
    return _solve(terms / latency_ms[:, None], robust, prior, prior_rows, empty_ms)


def _solve(
    shares: Floats,
    weights: Floats,
    prior: Floats | None,
    prior_rows: float,
    empty_ms: float | None,
) -> Floats:
    """Coefficients that bring each row's ``shares @ law`` near 1."""
    root = np.sqrt(weights)
    left, right = shares * root[:, None], root
    if prior is not None:
        size = np.sqrt(prior_rows) * shares.mean(axis=0)
        left, right = np.vstack([left, np.diag(size)]), np.concatenate([right, size * prior])
    if empty_ms is not None:
        empty = np.zeros((1, left.shape[1]))
        empty[0, _CONSTANT] = np.sqrt(_EMPTY_ROWS) / max(empty_ms, FLOOR_MS)
        left, right = np.vstack([left, empty]), np.append(right, np.sqrt(_EMPTY_ROWS))
    law = np.asarray(nnls(left, right)[0])
    if law[_PIECES] > _MOST_PER_PIECE:
        kept = np.delete(np.arange(len(law)), _PIECES)
        right = right - left[:, _PIECES] * _MOST_PER_PIECE
        law[kept] = nnls(left[:, kept], np.maximum(right, 0.0))[0]
        law[_PIECES] = _MOST_PER_PIECE
    return law
