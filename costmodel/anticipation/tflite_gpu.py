"""What TensorFlow Lite's GPU delegate executes for a network as written.

TensorFlow's conversion (``costmodel.lite_model``), then the delegate's own steps, from its source
(tensorflow/lite/delegates/gpu/common: ``model_transformations`` and ``gpu_model``): padding goes
into the window that alone reads it, factors and offsets of channels into the weights before them,
and an element-wise kernel is *linked*: it becomes the tail of the kernel whose result it reads
first, if that is its only reader and whatever else it reads is written by then. Which kernel a
layer gets is in ``tflite_gpu_kernels``. An Op says what a trace of the delegate tells, so that it
is the same as an imported row's: of linked operands those of sums behind convolutions, and nothing
of the tail of a Winograd convolution, which is in a kernel that traces do not name.
Held against 102 networks' traces on three phones by scripts/bench/phone_networks.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from costmodel.anticipation.tflite_gpu_kernels import WINOGRAD, family_of, is_one_pixel
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.lite_model.execute import RENAMES, known_constants
from costmodel.lite_model.graph import VALID, LiteModel, LiteOperator
from costmodel.lite_model.kernels import kernel_op
from costmodel.lite_model.rules import convert_network
from costmodel.network import Layer, Network
from costmodel.op import Attribute, Op, Shape

DTYPES = ("float16", "float32")
#: Element-wise operators, and what the delegate calls them in the tail of a kernel.
_LINKED = {
    **{code: code.lower() for code in ("ABS", "ADD", "COS", "DIV", "ELU", "EXP", "FLOOR", "GELU")},
    **{code: code.lower() for code in ("HARD_SWISH", "LOG", "MAXIMUM", "MINIMUM", "MUL", "NEG")},
    **{code: code.lower() for code in ("POW", "PRELU", "RELU", "RSQRT", "SIN", "SQRT", "SQUARE")},
    **{code: code.lower() for code in ("SUB", "TANH")},
    **dict.fromkeys(("RELU6", "RELU_N1_TO_1", "LEAKY_RELU"), "relu"),
    "LOGISTIC": "sigmoid",
    "SQUARED_DIFFERENCE": "squared_diff",
}
#: Operators whose operands may change places, so that the one written last is read first.
_EITHER_WAY = frozenset({"ADD", "MUL"})
#: Operators into whose weights a factor or an offset of channels goes.
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_PADDED = frozenset({"AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D"})
_IMAGE = 4


def execute_tflite_gpu(network: Network, device: Device) -> tuple[Layer, ...]:
    """The kernels that the delegate runs for a network as written.

    Args:
        network: from a reader.
        device: its name or ``isa`` says which GPU it is, its ``dtype`` what it calculates in.

    Raises:
        InvalidInputError: for another element type.
        ModelFormatError: naming a layer that TensorFlow Lite has no counterpart for.
    """
    if device.dtype not in DTYPES:
        message = (
            f"There are no rules for {device.dtype} networks on TensorFlow Lite's GPU delegate, "
            f"only for {' and '.join(DTYPES)}. Give a table of one of these."
        )
        raise InvalidInputError(message)
    model = known_constants(convert_network(network))
    kernels = _Delegate(model).run()
    return tuple(_layer(model, kernel, index, device) for index, kernel in enumerate(kernels))


@dataclass(slots=True, eq=False)
class _Kernel:
    """One kernel while it is being decided.

    Attributes:
        place: in running order.
        operator: as the file has it.
        reads: tensors read that are no constants; the first is what it may be linked to.
        writes: tensors written.
        covers: layers of the network as written.
        pads: of a PAD that went into it.
        tail: what was linked to it.
        summed: tensors that sums of the tail read.
    """

    place: int
    operator: LiteOperator
    reads: list[int]
    writes: list[int]
    covers: list[str]
    pads: Shape = ()
    tail: list[str] = field(default_factory=list)
    summed: int = 0


class _Delegate:
    """The delegate's rewriting of one model."""

    def __init__(self, model: LiteModel) -> None:
        self._model = model
        self._returned = set(model.outputs)
        made = (self._kernel(place, item) for place, item in enumerate(model.operators))
        self._kernels = [kernel for kernel in made if kernel is not None]
        self._gone: set[int] = set()
        self._writer = {tensor: k for k in self._kernels for tensor in k.writes}
        self._readers: dict[int, list[_Kernel]] = {}
        for kernel in self._kernels:
            for tensor in kernel.reads:
                self._readers.setdefault(tensor, []).append(kernel)

    def run(self) -> list[_Kernel]:
        """Kernels that are left, in order."""
        for step in (self._drop_rename, self._merge_pad, self._merge_constant):
            for kernel in self._left():
                if step(kernel):
                    self._gone.add(kernel.place)
        self._link()
        return self._left()

    def _left(self) -> list[_Kernel]:
        return [kernel for kernel in self._kernels if kernel.place not in self._gone]

    def _kernel(self, place: int, operator: LiteOperator) -> _Kernel | None:
        """An operator as a kernel, its activation as the tail; None if it is done once for all."""
        tensors = self._model.tensors
        reads = [index for index in operator.inputs if index >= 0 and not tensors[index].constant]
        if not reads:
            return None
        tail = [_LINKED.get(operator.activation.upper(), "relu")] if operator.activation else []
        return _Kernel(
            place=place,
            operator=operator,
            reads=reads,
            writes=list(operator.outputs),
            covers=list(operator.covers),
            tail=tail,
        )

    def _sole_reader(self, tensor: int) -> _Kernel | None:
        readers = self._readers.get(tensor, ())
        return readers[0] if len(readers) == 1 and tensor not in self._returned else None

    def _drop_rename(self, kernel: _Kernel) -> bool:
        """Another name for the same batch, height, width and channels is no kernel."""
        if kernel.operator.code not in RENAMES:
            return False
        source, target = kernel.reads[0], kernel.writes[0]
        before, after = (_as_image(self._model.tensors[i].shape) for i in (source, target))
        if before != after or target in self._returned:
            return False
        self._readers[source].remove(kernel)
        for later in self._readers.pop(target, ()):
            later.reads = [source if index == target else index for index in later.reads]
            later.covers = kernel.covers + later.covers
            self._readers[source].append(later)
        return True

    def _merge_pad(self, kernel: _Kernel) -> bool:
        """A PAD goes into the window without padding that alone reads it."""
        later = self._sole_reader(kernel.writes[0]) if kernel.operator.code == "PAD" else None
        if later is None or later.operator.code not in _PADDED:
            return False
        amounts = self._model.tensors[kernel.operator.inputs[1]].values
        if amounts is None or dict(later.operator.options).get("padding") != VALID:
            return False
        pads = np.asarray(amounts).astype(int)
        if pads.shape != (_IMAGE, 2) or pads[[0, 3]].any() or (pads < 0).any():
            return False
        later.pads = (*map(int, pads[1:3, 0]), *map(int, pads[1:3, 1]))
        later.reads[0] = kernel.reads[0]
        later.covers = kernel.covers + later.covers
        self._read_instead(kernel.reads[0], kernel, later)
        return True

    def _merge_constant(self, kernel: _Kernel) -> bool:
        """A factor or an offset, one or one per channel, goes into the weights before it."""
        if kernel.operator.code not in _EITHER_WAY or len(kernel.reads) != 1:
            return False
        before = self._writer.get(kernel.reads[0])
        if before is None or before.operator.code not in _WEIGHTED or before.tail:
            return False
        tensors = self._model.tensors
        given = [tensors[i].shape for i in kernel.operator.inputs if tensors[i].constant]
        channels = tensors[kernel.writes[0]].shape[-1]
        if any(prod(shape) not in {1, channels} for shape in given):
            return False
        if self._sole_reader(before.writes[0]) is not kernel:
            return False
        self._follow(before, kernel)
        return True

    def _link(self) -> None:
        """Element-wise kernels become tails, kernel by kernel in running order."""
        kernels = self._left()
        for kernel in kernels:  # an operand written later comes first
            if kernel.operator.code in _EITHER_WAY and self._same_sizes(kernel.reads):
                kernel.reads.sort(key=self._written_at, reverse=True)
        written = set(self._model.inputs)
        for kernel in kernels:
            while kernel.place not in self._gone:
                written.update(kernel.writes)
                later = self._sole_reader(kernel.writes[0]) if len(kernel.writes) == 1 else None
                if later is None or not self._is_linked(kernel, later, written):
                    break
                kernel.tail.append(_LINKED[later.operator.code])
                kernel.summed += later.operator.code == "ADD" and len(later.reads) > 1
                self._follow(kernel, later)
                self._gone.add(later.place)

    @staticmethod
    def _is_linked(kernel: _Kernel, later: _Kernel, written: set[int]) -> bool:
        return (
            later.operator.code in _LINKED
            and later.reads[0] == kernel.writes[0]
            and written.issuperset(later.reads)
        )

    def _same_sizes(self, tensors: Sequence[int]) -> bool:
        return len({self._model.tensors[index].shape for index in tensors}) == 1

    def _written_at(self, tensor: int) -> int:
        """Place of the kernel that writes a tensor; before all of them for an input."""
        writer = self._writer.get(tensor)
        return -1 if writer is None else writer.place

    def _follow(self, kernel: _Kernel, later: _Kernel) -> None:
        """``kernel`` does the work of ``later``, too."""
        for tensor in later.reads[1:]:
            self._read_instead(tensor, later, kernel)
        kernel.reads += later.reads[1:]
        kernel.writes = later.writes
        kernel.covers += later.covers
        kernel.tail += later.tail
        self._writer.update(dict.fromkeys(later.writes, kernel))

    def _read_instead(self, tensor: int, before: _Kernel, now: _Kernel) -> None:
        """``now`` reads a tensor in the place of ``before``."""
        readers = self._readers[tensor]
        readers[readers.index(before)] = now


def _as_image(shape: Shape) -> Shape:
    """Batch, height, width and channels of a tensor with fewer axes, as the delegate has them.

    >>> _as_image((1, 10)), _as_image((1, 7, 10))
    ((1, 1, 1, 10), (1, 1, 7, 10))
    """
    if not shape or len(shape) >= _IMAGE:
        return shape
    if len(shape) == 1:
        return (shape[0], 1, 1, 1)
    return (shape[0], *(1,) * (_IMAGE - len(shape)), *shape[1:])


def _layer(model: LiteModel, kernel: _Kernel, index: int, device: Device) -> Layer:
    operator = kernel.operator
    plain = replace(
        operator,
        options=tuple(o for o in operator.options if o[0] != "fused_activation_function"),
    )
    if kernel.pads:
        # What went into the window is read with its padding.
        first = kernel.reads[0]
        plain = replace(plain, inputs=(first, *operator.inputs[1:]))
    op = _as_traced(kernel_op(model, plain, pads=kernel.pads, delegated=False))
    family = family_of(op, device)
    if op.kind == "conv" and is_one_pixel(op):
        op = _as_product(op)
    if family != WINOGRAD:
        op = _with_tail(op, kernel)
    op = replace(op, implementation=family, dtype=device.dtype)
    title = kernel.covers[-1] if kernel.covers else operator.code
    return Layer(
        name=f"{title}/n{index}",
        op=op,
        inputs=tuple(model.tensors[i].name for i in kernel.reads),
        outputs=tuple(model.tensors[i].name for i in kernel.writes),
        covers=tuple(kernel.covers),
    )


def _as_traced(op: Op) -> Op:
    """An Op with what a trace says of a kernel: its kind, sizes, window and groups."""
    kept: tuple[tuple[str, Attribute], ...] = ()
    if op.kind in {"average_pool", "max_pool"}:
        kept, op = (("kernel_shape", op.kernel),), replace(op, dilation=())
    elif op.kind == "concat":
        kept = (("axis", len(op.outputs[0]) - 1),)
    layout = "nchw" if op.kind == "gemm" else "nhwc"
    op = replace(op, attributes=kept, constants=(), constant_dtypes=(), operands="", layout=layout)
    if op.kind == "average_pool" and op.kernel == op.spatial_in and prod(op.spatial_out) == 1:
        op = replace(op, kind="global_average_pool", attributes=(), stride=(), pads=())
    if op.kind == "global_average_pool":
        op = replace(op, outputs=((op.batch, 1, 1, op.in_channels),))
    return op


def _as_product(op: Op) -> Op:
    """A convolution of one pixel as the product that it is."""
    rows, columns = op.in_channels, op.out_channels
    return Op(
        kind="gemm",
        inputs=((op.batch, rows),),
        outputs=((op.batch, columns),),
        weights=((columns, rows), *op.weights[1:]),
    )


def _with_tail(op: Op, kernel: _Kernel) -> Op:
    """With what was linked to a kernel, and what sums behind a convolution read."""
    op = replace(op, epilogue=tuple(kernel.tail))
    if op.kind != "conv" or not kernel.summed:
        return op
    order = "d" + "w" * len(op.weights) + "d" * kernel.summed
    return replace(op, inputs=(*op.inputs, *op.outputs * kernel.summed), operands=order)
