"""One call of a Keras layer or operation, and the axes that its settings mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.op import Op, Shape
from costmodel.readers.keras_activations import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a reading rule may look at.

    Attributes:
        layer: the Keras layer or operation.
        inputs: neutral sizes of the tensors it reads.
        outputs: neutral sizes of those it returns.
        arguments: what it was called with, in order; tensors among them are Keras tensors.
        settings: what it was called with by name.
        channels_last: whether the model keeps channels last.
    """

    layer: Any
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    arguments: tuple[Any, ...]
    settings: Mapping[str, Any]
    channels_last: bool

    def neutral(self, axis: int, rank: int) -> int:
        """Where an axis of a tensor of ``rank`` axes lies when channels come first."""
        axis %= rank
        if not self.channels_last or rank < 3 or axis == 0:
            return axis
        return 1 if axis == rank - 1 else axis + 1

    def written(self, axis: int, rank: int) -> int:
        """The reverse of ``neutral``: the model's own number of a neutral axis."""
        if not self.channels_last or rank < 3 or axis == 0:
            return axis
        return rank - 1 if axis == 1 else axis - 1

    def neutral_size(self, size: Shape) -> Shape:
        """Neutral sizes of a tensor given in the model's own order."""
        return tuple(size[self.written(axis, len(size))] for axis in range(len(size)))

    def own_size(self, size: Shape) -> Shape:
        """Sizes in the model's own order of a tensor given in neutral sizes."""
        return tuple(size[self.neutral(axis, len(size))] for axis in range(len(size)))

    def axes(self, value: Any, rank: int) -> tuple[int, ...]:
        """Neutral axes of a setting that is one axis, several, or None for all."""
        if value is None:
            return tuple(range(rank))
        items = value if isinstance(value, Sequence) else (value,)
        return tuple(sorted(self.neutral(int(item), rank) for item in items))

    def size(self, shape: Sequence[int], rank: int) -> Shape:
        """Neutral size of a constant that is broadcast against a tensor of ``rank`` axes."""
        sizes = tuple(int(item) for item in shape)
        if not sizes:
            return ()
        full = (1,) * (rank - len(sizes)) + sizes
        if self.channels_last and rank > 2:
            return (full[0], full[-1], *full[1:-1])
        return full

    def plain(self, kind: str, *attributes: tuple[str, Any], **fields: Any) -> list[Step]:
        """A single Op that reads every input."""
        op = Op(
            kind=kind, inputs=self.inputs, outputs=self.outputs, attributes=attributes, **fields
        )
        return [Step(op=op, reads=tuple(range(len(self.inputs))))]


def window_fields(
    size: Shape, out: Shape, kernel: Shape, stride: Shape, dilation: Shape
) -> dict[str, Any]:
    """Window fields; the padding is what takes ``size`` to ``out``, the smaller half first."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    total = [
        max(0, (o - 1) * s + r - i)
        for i, o, s, r in zip(size[2:], out[2:], stride, reach, strict=True)
    ]
    less = tuple(t // 2 for t in total)
    more = tuple(t - t // 2 for t in total)
    return {"stride": stride, "pads": less + more, "dilation": dilation}


def pool_op(kind: str, size: Shape, out: Shape, kernel: Shape, stride: Shape) -> Op:
    """A pooling, padded as much as takes ``size`` to ``out``."""
    return Op(
        kind=kind,
        inputs=(size,),
        outputs=(out,),
        attributes=(("kernel_shape", kernel),),
        **window_fields(size, out, kernel, stride, (1,) * len(kernel)),
    )
