"""Operations of ``keras.ops`` in a graph, applied again with the sizes of the new network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.errors import ModelFormatError
from morphnet_core.surgery.plan import Positions

#: Operations whose arguments that are no tensors of the graph may be vectors over the channels.
_ELEMENTWISE = frozenset(
    {"Add", "Divide", "Maximum", "Minimum", "Multiply", "Power", "Subtract", "TrueDivide"}
)
#: Setting with the whole new size, by operation.
_SIZES = {"Reshape": "newshape", "BroadcastTo": "shape"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationView:
    """What is known of one call of an operation.

    Attributes:
        operation: the old operation.
        read: channels of each tensor that it reads.
        written: channels of each tensor that it returns.
        read_axis: channel axis of the first tensor read, from the front; its rank is ``rank``.
        rank: axes of the first tensor read.
        written_axis: channel axis of the first tensor returned.
        title: path of the operation, for errors.
    """

    operation: Any
    read: Sequence[Positions]
    written: Sequence[Positions]
    read_axis: int
    rank: int
    written_axis: int
    title: str


def adapted_operation(view: OperationView) -> Any:
    """A new operation of the same kind and name with the settings of the new sizes.

    Raises:
        ModelFormatError: if it cannot be made again.
    """
    operation = view.operation
    kind = type(operation).__name__
    config: dict[str, Any] = {}
    if kind in _SIZES and not view.written[0].whole:
        size = list(getattr(operation, _SIZES[kind]))
        if size[view.written_axis] != -1:
            size[view.written_axis] = view.written[0].count
        config[_SIZES[kind]] = tuple(size)
    if kind == "Pad" and not view.written[0].whole:
        config["pad_width"] = _pad_width(view)
    if kind == "Split" and operation.axis % view.rank == view.read_axis:
        kept = [item.count for item in view.written if item.count]
        config["indices_or_sections"] = tuple(int(i) for i in np.cumsum(kept[:-1]))
    try:
        made = type(operation).from_config({**operation.get_config(), **config})
    except (NotImplementedError, TypeError, ValueError) as error:
        if config:
            message = (
                f"Operation {view.title!r} ({kind}) cannot be made again with other sizes: "
                f"{error} Exclude the channels that it reads, or give it a get_config()."
            )
            raise ModelFormatError(message) from error
        return operation  # it has no weights, so that both networks may use it
    made.name = operation.name
    return made


def _pad_width(view: OperationView) -> tuple[Any, ...]:
    """Padding of which the channels that are tied to removed ones are left out."""
    widths = [tuple(pair) for pair in view.operation.pad_width]
    widths = widths * view.rank if len(widths) == 1 else widths
    before, _ = widths[view.read_axis]
    index, size = view.written[0].index, view.read[0].size
    widths[view.read_axis] = (
        int((index < before).sum()),
        int((index >= before + size).sum()),
    )
    return tuple(widths)


def adapted_arguments(view: OperationView, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Positional arguments of the call, slices and constant vectors cut like the channels.

    Args:
        view: the call.
        args: the arguments with tensors of the new network filled in.

    Raises:
        ModelFormatError: if a slice of channels has no counterpart.
    """
    kind = type(view.operation).__name__
    if kind == "GetItem":
        return (args[0], _key(view, args[1]), *args[2:])
    if kind in _ELEMENTWISE and not view.written[0].whole:
        return tuple(_vector(view, item) for item in args)
    return args


def _vector(view: OperationView, item: Any) -> Any:
    """A constant cut along the channels, if it has as many entries there."""
    if hasattr(item, "_keras_history") or not hasattr(item, "shape"):
        return item
    from_end = view.written_axis - view.rank
    shape = tuple(item.shape)
    if len(shape) < -from_end or shape[from_end] != view.written[0].size or shape[from_end] == 1:
        return item
    return np.take(np.asarray(item), view.written[0].index, axis=from_end)


def _key(view: OperationView, key: Any) -> Any:
    """The key of ``x[key]`` with the channels that it selects counted anew."""
    read = view.read[0]
    if read.whole:
        return key
    parts = list(key) if isinstance(key, tuple | list) else [key]
    taken = sum(1 for part in parts if part is not None and part is not Ellipsis)
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    axis = 0
    for place, part in enumerate(parts):
        if part is None:
            continue
        if part is Ellipsis:
            axis += view.rank - taken
            if axis > view.read_axis:
                break
            continue
        if axis == view.read_axis:
            parts[place] = _part(view, part)
            break
        axis += 1
    return tuple(parts)


def _part(view: OperationView, part: Any) -> slice | int:
    """A slice of the channels, or the one that is picked, counted anew."""
    read = view.read[0]
    if isinstance(part, int) and part % read.size in read.index:
        return int((read.index < part % read.size).sum())
    if not isinstance(part, slice) or part.step not in {None, 1}:
        message = (
            f"Operation {view.title!r} picks the channels [{part}], whose counterpart after a cut "
            "is no slice. Exclude the layers that write them, or slice in steps of 1."
        )
        raise ModelFormatError(message)
    first, last, _ = part.indices(read.size)
    return slice(int((read.index < first).sum()), int((read.index < last).sum()))
