"""Layers with several operands of which some vanished or became constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import ModelFormatError
from morphnet_core.surgery.plan import Positions
from morphnet_core.surgery.trace import Step
from morphnet_core.surgery.values import ReviveError, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """One call with operands of several kinds.

    Attributes:
        step: the call.
        operands: what became of each operand, in order.
        positions: channels of each operand.
        axis: channel axis of the result, from the front.
        again: calls the layer, made anew, on a list of tensors.
        carry: whether constants have values, or are dropped since weights start afresh.
        adds: whether constants are added; else nothing is in their place.
        name: name for a layer that stands for constants.
    """

    step: Step
    operands: Sequence[Value]
    positions: Sequence[Positions]
    axis: int
    again: Callable[[list[Any]], Any]
    carry: bool
    adds: bool
    name: str

    @property
    def live(self) -> list[Any]:
        """Tensors of the operands that the new network computes."""
        return [item.tensor for item in self.operands if item.is_live]

    def revive(self) -> ReviveError:
        """The demand to keep what the constant operands lack."""
        lacking = [name for item in self.operands for name in item.lacking]
        return ReviveError(lacking, self.step.origin)


def merged(merge: Merge) -> Any:
    """The result as a tensor of the new network.

    Raises:
        ReviveError: if a constant operand can be expressed by no layer.
        ModelFormatError: if a vanished operand would make the result wrong.
    """
    kind = type(merge.step.node.operation).__name__
    rule = _RULES.get(kind)
    if rule is None:
        return _refused(merge)
    result = rule(merge)
    wanted = merge.step.node.outputs[0].shape
    if _spatial(result.shape, merge.axis) != _spatial(wanted, merge.axis):
        return _refused(merge)  # what is left was broadcast against the constant
    return result


def _spatial(shape: Sequence[int | None], axis: int) -> list[int | None]:
    return [size for place, size in enumerate(shape) if place != axis]


def _refused(merge: Merge) -> Any:
    if any(item.is_constant for item in merge.operands):
        raise merge.revive()
    message = (
        f"Layer {merge.step.origin!r} ({type(merge.step.node.operation).__name__}) reads channels "
        "that were all removed, beside others that stay. Keep one of them, or exclude the layer "
        "that writes them: find_groups(..., exclude=[...])."
    )
    raise ModelFormatError(message)


def _joined(merge: Merge) -> Any:
    """The live operands by the layer itself; a single one is the result already."""
    return merge.live[0] if len(merge.live) == 1 else merge.again(merge.live)


def _add(merge: Merge) -> Any:
    return _rescaled(merge, _joined(merge), 1.0, _total(merge))


def _average(merge: Merge) -> Any:
    count, live = len(merge.operands), merge.live
    if not merge.carry:
        return _joined(merge)
    if len(live) > 1:
        return _refused(merge)
    return _rescaled(merge, live[0], 1.0 / count, _total(merge) / count)


def _subtract(merge: Merge) -> Any:
    if merge.operands[0].is_live:
        return _rescaled(merge, merge.live[0], 1.0, -_total(merge))
    return _rescaled(merge, merge.live[0], -1.0, _total(merge))


def _multiply(merge: Merge) -> Any:
    if not merge.carry:
        return _joined(merge)
    if not all(item.is_live or item.is_constant for item in merge.operands):
        return _refused(merge)
    factor = prod(_vectors(merge), start=np.ones(1))
    return _rescaled(merge, _joined(merge), factor, np.zeros(1))


def _concatenate(merge: Merge) -> Any:
    if any(item.is_constant for item in merge.operands):
        raise merge.revive()
    return _joined(merge)


def _total(merge: Merge) -> NDArray[Any]:
    if not merge.adds:
        return np.zeros(1)
    return sum(_vectors(merge), np.zeros(1))


def _vectors(merge: Merge) -> list[NDArray[Any]]:
    """Constant operands as one number for each kept channel.

    Raises:
        ReviveError: if one of them differs between pixels, as at padded borders.
    """
    found = []
    for item, positions in zip(merge.operands, merge.positions, strict=True):
        if item.array is None:
            continue
        rank = len(merge.step.node.outputs[0].shape)
        if item.array.ndim != rank or rank <= merge.axis:
            raise merge.revive()
        axis = merge.axis
        pixels = np.moveaxis(item.array, axis, -1).reshape(-1, item.array.shape[axis])
        pixels = pixels[:, positions.index].astype(np.float64)
        spread = np.ptp(pixels, axis=0).max(initial=0.0)
        if spread > 1e-6 * max(1.0, float(np.abs(pixels).max(initial=0.0))):
            raise merge.revive()
        found.append(pixels[0])
    return found


def _rescaled(merge: Merge, tensor: Any, scale: Any, offset: NDArray[Any]) -> Any:
    """``tensor * scale + offset`` by one Rescaling layer; by none where that changes nothing."""
    scale = np.atleast_1d(np.asarray(scale, dtype=np.float64))
    if (scale == 1.0).all() and not offset.any():
        return tensor
    after = len(tensor.shape) - merge.axis - 1
    if scale.size > 1 and (after or keras.config.image_data_format() == "channels_first"):
        return _refused(merge)  # Rescaling reads vectors of scales as channels last only
    shape = (-1, *(1,) * after)
    layer = keras.layers.Rescaling(
        scale.tolist() if scale.size > 1 else float(scale[0]),
        offset=offset.reshape(shape).tolist() if offset.size > 1 else float(offset[0]),
        name=merge.name,
        dtype=str(tensor.dtype),
    )
    return layer(tensor)


_RULES: dict[str, Callable[[Merge], Any]] = {
    "Add": _add,
    "Average": _average,
    "Concatenate": _concatenate,
    "Multiply": _multiply,
    "Subtract": _subtract,
}
