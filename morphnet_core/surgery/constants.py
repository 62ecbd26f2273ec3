"""Branches that read nothing any more: what the old layers return for zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from morphnet_core.surgery.plan import Plan
from morphnet_core.surgery.reference import with_offset
from morphnet_core.surgery.trace import Step
from morphnet_core.surgery.values import DEAD, Value


def constant_values(
    step: Step, operands: Sequence[Value], plan: Plan, *, carry: bool
) -> list[Value]:
    """What one call returns whose operands are all constant or dead.

    The old layer is asked, with zeros for every dead channel.

    Args:
        step: the call.
        operands: what became of its operands.
        plan: what becomes of every tensor.
        carry: whether values are needed, or only that they are constant.
    """
    lacking = dict.fromkeys(
        name
        for value, read in zip(operands, step.reads, strict=True)
        for name in (value.lacking or (read,))
    )
    arrays: list[NDArray[Any] | None] = [None] * len(step.writes)
    if carry:
        arrays = list(_evaluated(step, operands, plan))
    return [
        DEAD if plan.is_gone(name) else Value(array=array, lacking=tuple(lacking))
        for array, name in zip(arrays, step.writes, strict=True)
    ]


def _evaluated(step: Step, operands: Sequence[Value], plan: Plan) -> list[NDArray[Any]]:
    fed = {}
    tensors = step.node.arguments.keras_tensors
    for tensor, value, name in zip(tensors, operands, step.reads, strict=True):
        array = np.zeros(plan.size(name), dtype=np.float64)
        if value.array is not None:
            index = plan.positions(name).index
            kept = (slice(None),) * plan.axis(name) + (index,) if len(index) else ...
            array[kept] = value.array[kept]
        fed[id(tensor)] = keras.ops.convert_to_tensor(array, dtype=tensor.dtype)
    offset = plan.fold.offsets.get(step.origin)
    if offset is not None:
        axis = plan.axis(step.writes[0])
        results = [with_offset(step.node.operation, next(iter(fed.values())), offset, axis)]
    else:
        args, kwargs = step.node.arguments.fill_in(fed)
        results = keras.tree.flatten(step.node.operation(*args, **kwargs))
    return [np.asarray(keras.ops.convert_to_numpy(item)).astype(np.float64) for item in results]
