"""What kernels of GPUs are held against: the common ways to price them, fitted on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.ensemble import ExtraTreesRegressor

from costmodel.costs.baselines import FlopsLine, NnMeterForest
from costmodel.measurement import Measurement
from costmodel.op import Op

Floats = NDArray[np.float64]
#: Learns from rows and prices others in ms.
Baseline = Callable[[Sequence[Measurement], Sequence[Op]], Floats]

NN_METER = "forest on raw ms"


def _nn_meter(rows: Sequence[Measurement], ops: Sequence[Op]) -> Floats:
    return NnMeterForest(rows).price(ops).values


def _line(rows: Sequence[Measurement], ops: Sequence[Op]) -> Floats:
    return FlopsLine(rows).price(ops).values


def _latency(rows: Sequence[Measurement]) -> Floats:
    return np.array([row.latency_ms for row in rows])


def _amounts(ops: Sequence[Op]) -> Floats:
    """A constant, multiply-adds, and elements read and written."""
    elements = [op.num_input_elements + op.num_output_elements + op.num_weights for op in ops]
    return np.array(
        [(1e6, op.macs, size) for op, size in zip(ops, elements, strict=True)], dtype=np.float64
    ) / 1e6  # fmt: skip


def _roofline(rows: Sequence[Measurement], ops: Sequence[Op]) -> Floats:
    """The larger of arithmetic and memory, each at the rate that the rows show, and a constant.

    Rows are shared out between the two roofs by turns, from an even start.
    """
    latency, amounts = _latency(rows), _amounts([row.op for row in rows])
    wanted = _amounts(ops)
    is_memory = amounts[:, 2] * amounts[:, 1].sum() > amounts[:, 1] * amounts[:, 2].sum()
    law = np.zeros(3)
    for _ in range(20):
        roofs = amounts * np.stack([np.ones(len(rows)), ~is_memory, is_memory], axis=1)
        law = nnls(roofs / latency[:, None], np.ones(len(rows)))[0]
        is_memory = amounts[:, 2] * law[2] > amounts[:, 1] * law[1]
    return np.asarray(
        wanted[:, 0] * law[0] + np.maximum(wanted[:, 1] * law[1], wanted[:, 2] * law[2])
    )


def _trees_on_logs(rows: Sequence[Measurement], ops: Sequence[Op]) -> Floats:
    """Extremely randomised trees on logarithms of sizes and of the latency."""
    names = sorted({row.op.implementation for row in rows})
    place = {name: index for index, name in enumerate(names)}
    forest = ExtraTreesRegressor(300, max_features=0.5, random_state=0, n_jobs=1)
    forest.fit(_sizes([row.op for row in rows], place), np.log(_latency(rows)))
    return np.asarray(np.exp(forest.predict(_sizes(ops, place))))


def _sizes(ops: Sequence[Op], place: dict[str, int]) -> Floats:
    sizes = np.array(
        [
            (
                op.batch, op.in_channels, op.out_channels, *op.spatial_in[:2], *op.spatial_out[:2],
                *op.kernel[:2], op.stride[0], op.dilation[0], op.groups, op.macs, op.num_weights,
                op.num_input_elements, op.num_output_elements,
            )
            for op in ops
        ],
        dtype=np.float64,
    )  # fmt: skip
    rest = [
        (
            place.get(op.implementation, -1), sum(op.pads), len(op.weights),
            *(op.epilogue.count(word) for word in ("relu", "add", "mul", "hard_swish", "sigmoid")),
            op.epilogue.count("tanh"),
        )
        for op in ops
    ]  # fmt: skip
    return np.hstack([np.log2(np.maximum(sizes, 0.5)), np.array(rest, dtype=np.float64)])


BASELINES: dict[str, Baseline] = {
    NN_METER: _nn_meter,
    "trees on logs": _trees_on_logs,
    "roofline": _roofline,
    "line in FLOPs": _line,
}
