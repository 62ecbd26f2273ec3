"""Regression: latency of unseen Ops from a table, physics first, statistics for the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from costmodel.costs.features import FEATURES, HULL, TERMS, Table, is_learnable, kind_of
from costmodel.costs.forest import Forest
from costmodel.costs.likeness import Likeness
from costmodel.costs.physics import FLOOR_MS, Physics, base_of, fit_physics, make_up
from costmodel.costs.physics import MIN_ROWS as MIN_LAW_ROWS
from costmodel.costs.residual import MIN_ROWS, Hyper, Residual, groups_of, search_hyper
from costmodel.device import Device
from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.op import Op
from costmodel.protocols import Prices, Unit
from costmodel.table import LatencyTable

Floats = NDArray[np.float64]

#: Version of the cached hyper-parameters; raised when features or laws change.
_CACHE_FORMAT = 12
#: Coverage of every interval.
COVERAGE = 0.9
_FOLDS = 5
#: Relative error of a row that nobody can avoid, added to its own spread.
_BASE_NOISE = 0.01
#: Spread assumed for rows that carry none.
UNKNOWN_SPREAD = 0.05
#: Outside the table's range by this many octaves an Op is called extrapolated.
_MARGIN = 0.5
#: Interval half width, as a share, of Ops that only a law of their kind can price.
_LAW_ONLY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What fitting found beyond the table itself; cached as JSON beside it.

    Attributes:
        rows: digest of the rows it belongs to.
        hypers: per execution path.
        factor: half width of the interval in standard deviations, from held-out folds.
        held_out_ms: what each learnable row would be priced at if it were not in the table, in the
            order of the rows; empty where they are too few to hold any out.
        format: of this cache.
    """

    rows: str
    hypers: Mapping[str, Hyper] = field(default_factory=dict)
    factor: float = 2.0
    held_out_ms: tuple[float, ...] = ()
    format: int = _CACHE_FORMAT


class Regression:
    """Prices any Op of a measured kind in milliseconds; a ``CostModel``.

    Rows of the table are answered exactly; anything else by the law of its execution path times
    the learned residual, but never faster than the fastest row of its like. A kind that the table
    never saw is priced like others of its class where these run alike loops (see ``likeness``), and
    else has no price.

    Args:
        rows: measured rows; ``session`` rows give the session's price, ``model`` rows are ignored.
        device: whose numbers these are.
        fitted: hyper-parameters found before; None to search them.

    Raises:
        InvalidInputError: if there are no rows to learn from.
    """

    unit: Unit = "ms"
    name = "regression"

    def __init__(
        self,
        rows: Sequence[Measurement],
        *,
        device: Device | None = None,
        fitted: Fitted | None = None,
    ) -> None:
        self.device = device
        numbered = [row for row in rows if row.has_number and row.latency_ms > 0]
        self._exact = {row.op: row for row in numbered if row.op.kind != "model"}
        learn = [row for row in numbered if is_learnable(row.op)]
        if not learn:
            message = (
                f"A regression needs measured rows. Received {len(rows)} rows, none of them a "
                "kernel with a latency. Profile the device first: costmodel profile --out T.jsonl"
            )
            raise InvalidInputError(message)
        self._session_rows = [row for row in numbered if row.op.kind == "session"]
        ops = self._ops = [row.op for row in learn]
        self._latency = np.array([row.latency_ms for row in learn])
        spread = np.array([row.spread for row in learn])
        spread = np.where(np.isfinite(spread), spread, UNKNOWN_SPREAD)
        self._noise = (np.minimum(spread, 1.0) / 2) ** 2
        self._kinds = [op.kind for op in ops]
        self._table = Table(ops, device)
        self._paths = self._table.paths
        self._hulls = self._find_hulls()
        dtypes = [op.dtype for op in ops]
        self._likeness = Likeness(self._table, self._latency, self._paths, self._kinds, dtypes)
        self.fitted = fitted or self._search(rows_digest(rows))
        self.physics, self._residual = self._fit(np.arange(len(ops)))

    def _fit(self, rows: NDArray[np.int_]) -> tuple[Physics, Residual | Forest]:
        """Laws and residual from some of the rows."""
        paths = [self._paths[i] for i in rows]
        physics = self._fit_physics(rows)
        base, features = self._view(physics, self._table, rows, paths)
        residual = np.log(self._latency[rows] / base)
        learner = Forest() if self._table.has_steps else Residual(self.fitted.hypers)
        return physics, learner.fit(features, residual, self._noise[rows], paths)

    def _fit_physics(self, rows: NDArray[np.int_]) -> Physics:
        weights = 1.0 / (self._noise[rows] + _BASE_NOISE**2)
        paths, kinds = [self._paths[i] for i in rows], [self._kinds[i] for i in rows]
        terms = self._table.terms[rows]
        names = self._table.term_names
        return fit_physics(terms, self._latency[rows], weights, paths, kinds, names)

    @staticmethod
    def _view(
        physics: Physics, table: Table, rows: NDArray[np.int_], paths: Sequence[str]
    ) -> tuple[Floats, Floats]:
        """Base latency of some rows of a table, and what the residual sees of them."""
        kinds = [kind_of(path) for path in paths]
        parts = physics.parts(table.terms[rows], paths, kinds)
        return base_of(parts), np.hstack([table.features[rows], make_up(parts)])

    def _search(self, digest: str) -> Fitted:
        """Hyper-parameters per path, then the interval's width from held-out folds."""
        everything = np.arange(len(self._latency))
        physics = self._fit_physics(everything)
        base, features = self._view(physics, self._table, everything, self._paths)
        residual = np.log(self._latency / base)
        hypers = {
            name: search_hyper(features[rows], residual[rows], self._noise[rows])
            for name, rows in groups_of(self._paths).items()
            if len(rows) >= MIN_ROWS and not self._table.has_steps
        }
        self.fitted = Fitted(rows=digest, hypers=hypers)
        if len(everything) < 2 * _FOLDS:
            return self.fitted
        factor, prices = self._hold_out()
        return Fitted(rows=digest, hypers=hypers, factor=factor, held_out_ms=tuple(prices.tolist()))

    def _hold_out(self) -> tuple[float, Floats]:
        """What rows are priced at by the others, and the width that covers them.

        Returns:
            Deviations that cover ``COVERAGE`` of held-out rows (conformal, Lei et al. 2018), and
            each row's price in ms.
        """
        order = np.random.default_rng(0).permutation(len(self._latency))
        scores, prices = np.zeros(len(order)), self._latency.copy()
        for fold in range(_FOLDS):
            test = order[fold::_FOLDS]
            train = np.setdiff1d(order, test)
            physics, residual = self._fit(train)
            paths = [self._paths[i] for i in test]
            base, features = self._view(physics, self._table, test, paths)
            mean, deviation = residual.predict(features, paths)
            error = np.abs(np.log(self._latency[test] / base) - mean)
            scores[test] = np.where(np.isfinite(error), error, np.inf) / deviation
            held_out = base * np.exp(mean)
            prices[test] = np.where(np.isfinite(held_out), held_out, prices[test])
        factor = np.clip(np.quantile(scores, COVERAGE, method="higher"), 0.5, 10.0)
        return float(factor), prices

    @property
    def ops(self) -> tuple[Op, ...]:
        """Ops of the rows it learned from."""
        return tuple(self._ops)

    def view(self, ops: Sequence[Op]) -> tuple[Floats, Floats, Floats]:
        """Of Ops, rows or not: base latency in ms, each term's share of it, and the features.

        The features are what the residual sees, ``(len(ops), features)``.
        """
        table = Table(ops, self.device)
        base, features = self._view(self.physics, table, np.arange(len(ops)), table.paths)
        return base, features[:, -len(table.term_names) - 1 : -1], features

    def held_out(self) -> Mapping[Op, float]:
        """What each learnable row would be priced at, in ms, if it were not in the table."""
        prices = self.fitted.held_out_ms
        return dict(zip(self._ops, prices, strict=True)) if len(prices) == len(self._ops) else {}

    def _find_hulls(self) -> dict[str, tuple[Floats, Floats]]:
        """Range of the main features per path."""
        names, features = np.asarray(self._paths), self._table.hull
        return {
            path: (
                features[names == path].min(axis=0) - _MARGIN,
                features[names == path].max(axis=0) + _MARGIN,
            )
            for path in set(self._paths)
        }

    def price(self, ops: Sequence[Op]) -> Prices:
        """Latency in ms per Op; see ``Prices``."""
        return self._priced(ops, self._exact)

    def price_smoothly(self, ops: Sequence[Op]) -> Prices:
        """The same without a row's own time: what a smooth law through all rows says of it."""
        return self._priced(
            ops, {op: row for op, row in self._exact.items() if not is_learnable(op)}
        )

    def _priced(self, ops: Sequence[Op], rows: Mapping[Op, Measurement]) -> Prices:
        """Prices of Ops, of which ``rows`` are answered as they are."""
        values, low, high = (np.full(len(ops), np.nan) for _ in range(3))
        exact = np.zeros(len(ops), dtype=np.bool_)
        reasons: dict[int, str] = {}
        extrapolated: dict[int, str] = {}
        learnable: list[int] = []
        for index, (op, row) in enumerate(zip(ops, map(rows.get, ops), strict=True)):
            if row is None:
                if is_learnable(op):
                    learnable.append(index)
                else:
                    self._price_special(op, index, (values, low, high), reasons)
                continue
            exact[index] = True
            spread = row.spread if np.isfinite(row.spread) else UNKNOWN_SPREAD
            values[index] = row.latency_ms
            low[index] = row.latency_ms * (1.0 - min(spread, 0.9))
            high[index] = row.latency_ms * (1.0 + spread)
        if learnable:
            found = self._predict([ops[i] for i in learnable])
            values[learnable], low[learnable], high[learnable] = found[:3]
            extrapolated = {learnable[i]: why for i, why in found[3].items()}
            for place in np.flatnonzero(~np.isfinite(found[0])):
                reasons[learnable[place]] = self._no_price(ops[learnable[place]])
        return Prices(
            values=values,
            low=low,
            high=high,
            reasons=reasons,
            extrapolated=extrapolated,
            exact=exact,
        )

    def _predict(self, ops: Sequence[Op]) -> tuple[Floats, Floats, Floats, dict[int, str]]:
        """Values, ends and reasons of doubt for Ops that are not rows."""
        table = Table(ops, self.device)
        paths = table.paths
        base, features = self._view(self.physics, table, np.arange(len(ops)), paths)
        mean, deviation = self._residual.predict(features, paths)
        kinds, dtypes = [op.kind for op in ops], [op.dtype for op in ops]
        # Whatever the law says, nothing is faster than the fastest of its like.
        values = np.maximum(base * np.exp(mean), self._likeness.floor_ms(table, kinds, dtypes))
        half = np.exp(np.minimum(self.fitted.factor * deviation, 3.0))
        low, high = values / half, values * half
        doubts = self._doubts(table, paths, kinds)
        self._widen(table, (values, low, high), paths, kinds, doubts)
        return values, low, high, doubts

    def _widen(
        self,
        table: Table,
        columns: tuple[Floats, Floats, Floats],
        paths: Sequence[str],
        kinds: Sequence[str],
        doubts: Mapping[int, str],
    ) -> None:
        """Intervals of what the rows say little about, as wide as what they leave open.

        A path of many rows has a law to trust: there they widen with the distance from the rows.
        """
        values, low, high = columns
        names = np.asarray(paths)
        for path in set(paths):
            rows = np.flatnonzero(names == path)
            is_sparse = self._likeness.is_sparse(path, MIN_LAW_ROWS)
            if not is_sparse:
                rows = np.array([row for row in rows if row in doubts], dtype=np.intp)
            if not len(rows):
                continue
            least, most = self._likeness.allowed_ms(table, rows, path, kinds[rows[0]])
            octaves = np.inf if is_sparse else self._octaves_outside(table, rows, path)
            ends = (1.0 - _LAW_ONLY) * values[rows], (1.0 + _LAW_ONLY) * values[rows]
            with np.errstate(over="ignore"):
                least = np.maximum(np.minimum(least, ends[0]), ends[0] / 2.0**octaves)
                most = np.minimum(np.maximum(most, ends[1]), ends[1] * 2.0**octaves)
            low[rows] = np.minimum(low[rows], np.maximum(least, FLOOR_MS / 2))
            high[rows] = np.maximum(high[rows], most)

    def _octaves_outside(self, table: Table, rows: NDArray[np.int_], path: str) -> Floats:
        """How far some Ops lie outside the range of their path's rows, in octaves."""
        below, above = self._hulls[path]
        features = table.hull[rows]
        return np.asarray(np.maximum(below - features, features - above).max(axis=1).clip(0.0))

    def _doubts(self, table: Table, paths: Sequence[str], kinds: Sequence[str]) -> dict[int, str]:
        """Ops outside the table's range, each with the feature that is."""
        doubts: dict[int, str] = {}
        features = table.hull
        names = np.asarray(paths)
        for path in set(paths):
            rows = np.flatnonzero(names == path)
            hull = self._hulls.get(path)
            if hull is None:
                kind = kinds[rows[0]]
                why = f"no row of the path {path}"
                if kind not in self.physics.by_kind:
                    why = f"no row of kind {kind!r}: priced like others of its class"
                doubts |= {int(i): why for i in rows}
                continue
            outside = (features[rows] < hull[0]) | (features[rows] > hull[1])
            for i in np.flatnonzero(outside.any(axis=1)):
                what = HULL[int(outside[i].argmax())]
                doubts[int(rows[i])] = f"{what} outside the range of the table's {path} rows"
        return doubts

    def _price_special(
        self, op: Op, index: int, columns: tuple[Floats, Floats, Floats], reasons: dict[int, str]
    ) -> None:
        """Session rows with other numbers of inputs and outputs cost what the nearest one does."""
        if op.kind != "session" or not self._session_rows:
            reasons[index] = self._no_price(op)
            return
        size = len(op.inputs) + len(op.outputs)
        row = min(
            self._session_rows,
            key=lambda item: abs(len(item.op.inputs) + len(item.op.outputs) - size),
        )
        known = len(row.op.inputs) + len(row.op.outputs)
        value = row.latency_ms * max(1.0, size / max(1, known))
        for column, share in zip(columns, (1.0, 0.5, 2.0), strict=True):
            column[index] = value * share

    def _no_price(self, op: Op) -> str:
        if op.kind == "model":
            return "a 'model' row is a whole network; price its Ops instead"
        if op.kind in self._kinds and not is_learnable(op):
            return f"its shapes do not say how much work this {op.kind} is"
        return (
            f"the table has no row of kind {op.kind!r}; "
            "add it with: costmodel profile --models MODEL.onnx --out T.jsonl"
        )


def rows_digest(rows: Sequence[Measurement]) -> str:
    """Digest of Ops and latencies: a cache belongs to exactly these rows."""
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        digest.update(f"{row.op.digest}:{row.latency_ms!r};".encode())
    return digest.hexdigest()


def fit_regression(table: LatencyTable, *, cache: bool = True) -> Regression:
    """Fit a table, or read what an earlier fit found.

    Args:
        table: measured rows.
        cache: keep hyper-parameters in ``<table>.fit.json`` beside a table that has a file.

    Raises:
        InvalidInputError: if the table has no rows to learn from.
    """
    rows = list(table.rows.values())
    path = Path(f"{table.path}.fit.json") if cache and table.path is not None else None
    fitted = _read_cache(path, rows_digest(rows)) if path is not None else None
    regression = Regression(rows, device=table.device, fitted=fitted)
    if path is not None and fitted is None:
        with suppress(InvalidInputError):  # a read-only place: the next fit takes seconds again
            write_lines(path, [msgspec.json.encode(regression.fitted)])
    return regression


def _read_cache(path: Path, digest: str) -> Fitted | None:
    """The cache if it is readable and belongs to the rows; anything else is simply refitted."""
    try:
        fitted = msgspec.json.decode(path.read_bytes(), type=Fitted)
    except (OSError, msgspec.MsgspecError):
        return None
    widths = {len(hyper.relevances) for hyper in fitted.hypers.values()}
    valid = (
        fitted.format == _CACHE_FORMAT
        and fitted.rows == digest
        and widths <= {len(FEATURES) + len(TERMS) + 1}
    )
    return fitted if valid else None
