"""Op: one executed kernel's work with all sizes filled in; the key of every table."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, prod
from typing import Annotated, Literal, overload

import msgspec

from costmodel.errors import InvalidInputError
from costmodel.kinds import CONV_KINDS as CONV_KINDS
from costmodel.kinds import MATMUL_KINDS as MATMUL_KINDS
from costmodel.kinds import POOL_KINDS as POOL_KINDS
from costmodel.kinds import RENAMED
from costmodel.products import PRODUCT_KINDS, Work, multiply_adds
from costmodel.slots import Attribute as Attribute
from costmodel.slots import Constant as Constant
from costmodel.slots import Shape as Shape
from costmodel.slots import Slot as Slot

#: Bytes of one element, by the dtype names of ``Op``; four-bit types are packed two to a byte.
DTYPE_BYTES: Mapping[str, float] = {
    "float64": 8, "int64": 8, "uint64": 8, "complex64": 8,
    "float32": 4, "int32": 4, "uint32": 4,
    "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2,
    "int8": 1, "uint8": 1, "bool": 1, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "int4": 0.5, "uint4": 0.5,
}  # fmt: skip
Step = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
Pad = Annotated[int, msgspec.Meta(ge=-(2**20), le=2**20)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One executed kernel's work, complete enough to rebuild the kernel alone.

    Shapes are the *physical* ones: in a blocked layout the channel axis is already padded to the
    block, because that is what the kernel works on (60 and 64 channels are then one Op, as they are
    one amount of work).

    Attributes:
        kind: the field's plain name: ``conv``, ``gemm``, ``max_pool``, ``concat``, ``add``,
            ``reorder_input``, ... or ``session`` for the fixed cost of one model run.
        implementation: the runtime's own kernel name, e.g. ``com.microsoft.nchwc:Conv``; empty in
            a network as written, before a runtime has chosen.
        inputs: shapes of the activations read.
        outputs: shapes of the activations written.
        weights: shapes of constant float operands; a convolution's first is
            ``(out, in/groups, *kernel)``.
        dtype: element type of the activations.
        layout: ``nchw``, ``nhwc``, or a blocked ``nchw8c`` / ``nchw16c``.
        stride: per spatial axis; empty where it does not apply.
        pads: begin values, then end values, per spatial axis.
        dilation: per spatial axis.
        groups: channel groups of a convolution.
        epilogue: what the runtime folded in, in order: ``("sum", "relu")``.
        attributes: remaining sorted ``(name, value)`` pairs that the kernel needs.
        operands: order of operands, one letter each: ``d`` data, ``w`` weight, ``c`` constant,
            ``-`` absent; empty means all data, then all weights, then all constants.
        constants: values of small constant operands (axes, pads, scales ...).
        input_dtypes: element types of ``inputs`` where they differ from ``dtype``; else empty.
        constant_dtypes: element types of ``constants`` where they are not ``int64``; else empty.

    >>> op = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3))
    >>> op.outputs, op.macs
    (((1, 32, 8, 8),), 294912)
    """

    kind: Annotated[str, msgspec.Meta(min_length=1)]
    implementation: str = ""
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    weights: tuple[Shape, ...] = ()
    dtype: str = "float32"
    layout: str = "nchw"
    stride: tuple[Step, ...] = ()
    pads: tuple[Pad, ...] = ()
    dilation: tuple[Step, ...] = ()
    groups: Step = 1
    epilogue: tuple[str, ...] = ()
    attributes: tuple[tuple[str, Attribute], ...] = ()
    operands: str = ""
    constants: tuple[Constant, ...] = ()
    input_dtypes: tuple[str, ...] = ()
    constant_dtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Tables of earlier versions have other words for some kinds."""
        if self.kind in RENAMED:
            object.__setattr__(self, "kind", RENAMED[self.kind])

    @property
    def batch(self) -> int:
        """Leading axis of the first input; 1 where there is none."""
        return self.inputs[0][0] if self.inputs and self.inputs[0] else 1

    @property
    def in_channels(self) -> int:
        """Channels of the first input (axis 1; the last axis in ``nhwc`` or for 2-D inputs)."""
        return _channels(self.inputs[0], self.layout) if self.inputs else 1

    @property
    def out_channels(self) -> int:
        """Channels of the first output."""
        return _channels(self.outputs[0], self.layout) if self.outputs else 1

    @property
    def spatial_in(self) -> Shape:
        """Spatial sizes of the first input; empty below three axes."""
        return _spatial(self.inputs[0], self.layout) if self.inputs else ()

    @property
    def spatial_out(self) -> Shape:
        """Spatial sizes of the first output; empty below three axes."""
        return _spatial(self.outputs[0], self.layout) if self.outputs else ()

    @property
    def kernel(self) -> Shape:
        """Window sizes of a convolution or pool; empty for other kinds."""
        if self.kind in CONV_KINDS:
            return self.filters[2:]
        window = self.attribute("kernel_shape")
        return tuple(int(k) for k in window) if isinstance(window, tuple) else ()

    @property
    def is_depthwise(self) -> bool:
        """Whether each group of a convolution reads one channel."""
        return self.kind in CONV_KINDS and self.groups > 1 and self.filters[1:2] == (1,)

    @property
    def filters(self) -> Shape:
        """Filter sizes of a convolution; the second input's where they are computed.

        >>> Op(kind="conv", inputs=((1, 8, 4, 4), (2, 8, 1, 1)), outputs=((1, 2, 4, 4),),
        ...    weights=((2,),)).filters  # with a constant bias
        (2, 8, 1, 1)
        """
        if self.weights and len(self.weights[0]) > 2:
            return self.weights[0]
        known = (*self.weights[:1], *self.inputs[1:2])
        return next((size for size in known if len(size) > 2), (*known, ())[0])

    @property
    def macs(self) -> int:
        """Multiply-adds as ``products`` counts them; 0 for kinds that have none."""
        return self.multiply_adds or 0

    @property
    def multiply_adds(self) -> int | None:
        """Multiply-adds; 0 for kinds that have none, None where the sizes do not say how many."""
        if self.kind in CONV_KINDS:
            if not (self.inputs and self.outputs and self.kernel):
                return None
            tensor = self.outputs[0] if self.kind == "conv" else self.inputs[0]
            return prod(tensor) * prod(self.filters[1:])
        if self.kind not in PRODUCT_KINDS:
            return 0
        work = Work(
            operands=self.work_slots(), outputs=self.outputs, attributes=dict(self.attributes)
        )
        return multiply_adds(self.kind, work)

    def work_slots(self) -> list[Slot]:
        """Operands in order, without a runtime's own parameters and without those named in vain."""
        sizes = {"d": self.inputs, "w": self.weights}
        met = dict.fromkeys("dwc", 0)
        found = []
        for letter in self.order:
            index = met.get(letter, 0)
            met[letter] = index + 1
            if letter in sizes and index < len(sizes[letter]):
                found.append(Slot(letter=letter, index=index, shape=sizes[letter][index]))
            elif letter == "c" and index < len(self.constants):
                found.append(Slot(letter=letter, index=index, values=self.constants[index]))
            elif letter == "-":
                found.append(Slot(letter=letter, index=0))
        return found

    @property
    def num_weights(self) -> int:
        """Constant float elements read."""
        return sum(prod(shape) for shape in self.weights)

    @property
    def num_input_elements(self) -> int:
        """Activation elements read."""
        return sum(prod(shape) for shape in self.inputs)

    @property
    def num_output_elements(self) -> int:
        """Activation elements written."""
        return sum(prod(shape) for shape in self.outputs)

    @overload
    def attribute(self, name: str, default: None = None) -> Attribute | None: ...
    @overload
    def attribute(self, name: str, default: int) -> int: ...
    @overload
    def attribute(self, name: str, default: float) -> float: ...
    @overload
    def attribute(self, name: str, default: str) -> str: ...
    @overload
    def attribute(self, name: str, default: Constant) -> Constant: ...
    @overload
    def attribute(self, name: str, default: Attribute) -> Attribute: ...

    def attribute(self, name: str, default: Attribute | None = None) -> Attribute | None:
        """Value of one of ``attributes``, of the same type as its default.

        Args:
            name: the attribute's name.
            default: what it is where the Op has none; None for any type.

        Raises:
            InvalidInputError: if the value is of another type than the default.

        >>> op = Op(kind="softmax", inputs=((1, 8),), attributes=(("axis", -1),))
        >>> op.attribute("axis", 1), op.attribute("since", 13), op.attribute("mode")
        (-1, 13, None)
        """
        value = next((value for key, value in self.attributes if key == name), default)
        if default is None or type(value) is type(default):
            return value
        if isinstance(value, int | float) and isinstance(default, int | float):
            alike = type(default)(value)
            if alike == value:
                return alike
        message = (
            f"{self.kind}: its attribute {name} must be like {default!r}. Received: {value!r}."
        )
        raise InvalidInputError(message)

    @property
    def order(self) -> str:
        """``operands`` in full, whether or not it is the usual order.

        >>> conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3)).order
        'dww'
        """
        usual = "d" * len(self.inputs) + "w" * len(self.weights) + "c" * len(self.constants)
        return self.operands or usual

    def slots(self) -> tuple[Slot, ...]:
        """Every operand in the operator's own order.

        Raises:
            InvalidInputError: if ``operands`` names more of a kind than there are, or element
                types are named for other operands than there are.

        >>> add = Op(kind="add", inputs=((1, 8),), weights=((8,),), operands="wd")
        >>> [(slot.letter, slot.index, slot.shape) for slot in add.slots()]
        [('w', 0, (8,)), ('d', 0, (1, 8))]
        """
        met: dict[str, int] = {}
        found = []
        typed = len(self.input_types), len(self.constant_types)
        if typed != (len(self.inputs), len(self.constants)):
            message = f"{self.label}: it does not name the element type of each operand."
            raise InvalidInputError(message)
        for letter in self.order:
            index = met.get(letter, 0)
            met[letter] = index + 1
            try:
                found.append(self._slot(letter, index))
            except IndexError:
                message = f"{self.label}: its operands {self.operands!r} are more than it has."
                raise InvalidInputError(message) from None
        return tuple(found)

    def _slot(self, letter: str, index: int) -> Slot:
        if letter == "d":
            shape, dtype = self.inputs[index], self.input_types[index]
            return Slot(letter=letter, index=index, shape=shape, dtype=dtype)
        if letter == "w":
            return Slot(letter=letter, index=index, shape=self.weights[index])
        if letter == "c":
            values, dtype = self.constants[index], self.constant_types[index]
            return Slot(letter=letter, index=index, values=values, dtype=dtype)
        return Slot(letter=letter, index=index)

    @property
    def input_types(self) -> tuple[str, ...]:
        """Element type of each of ``inputs``."""
        return self.input_dtypes or (self.dtype,) * len(self.inputs)

    @property
    def constant_types(self) -> tuple[str, ...]:
        """Element type of each of ``constants``."""
        return self.constant_dtypes or ("int64",) * len(self.constants)

    @property
    def digest(self) -> str:
        """Stable 16-digit name of this Op, the same in every process and on every machine."""
        return _digest(self)

    @property
    def label(self) -> str:
        """One short line for people: kind, channels, sizes, kernel, path."""
        return describe(self)


def as_operands(order: str) -> str:
    """The field ``operands`` for an order of operands: empty for the usual one.

    >>> as_operands("dwc"), as_operands("wd")
    ('', 'wd')
    """
    usual = set(order) <= set("dwc-") and list(order) == sorted(order, key="dwc-".index)
    return "" if usual else order


def clip_bounds(op: Op, unlimited: float = inf) -> tuple[float, float]:
    """Lower and upper bound of a clip, from its operands or, before ONNX 11, its attributes.

    Args:
        op: a clip with constant bounds.
        unlimited: the bound where there is none.

    >>> clip_bounds(Op(kind="clip", inputs=((1, 4),), constants=((0,), (6,))))
    (0.0, 6.0)
    """
    named = op.attribute("min", -unlimited), op.attribute("max", unlimited)
    bounds = dict(enumerate(op.slots()[1:3]))
    low, high = (
        float(bounds[place].values[0]) if place in bounds and bounds[place].letter == "c" else value
        for place, value in enumerate(named)
    )
    return low, high


def _channels(shape: Shape, layout: str) -> int:
    if len(shape) < 2:
        return 1
    return shape[-1] if layout == "nhwc" or len(shape) == 2 else shape[1]


def _spatial(shape: Shape, layout: str) -> Shape:
    if len(shape) < 3:
        return ()
    return shape[1:-1] if layout == "nhwc" else shape[2:]


@functools.lru_cache(maxsize=200_000)
def _digest(op: Op) -> str:
    # Equal Ops must have equal digests: 1 and 1.0 are equal in Python but not in JSON.
    fields = op_fields(op)
    for name in ("attributes", "constants"):
        if name in fields:
            fields[name] = _plain_numbers(fields[name])
    return hashlib.blake2b(_ENCODER.encode(fields), digest_size=8).hexdigest()


def _plain_numbers(value: object) -> object:
    """``value`` with whole floats written as integers."""
    if isinstance(value, tuple):
        return tuple(_plain_numbers(item) for item in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Op)
_DEFAULTS = {
    name: field.default for name, field in Op.__dataclass_fields__.items() if name != "kind"
}


def op_fields(op: Op) -> dict[str, object]:
    """Fields of ``op`` that differ from their default: its JSON form.

    >>> op_fields(Op(kind="add", inputs=((1, 8),), outputs=((1, 8),)))
    {'kind': 'add', 'inputs': ((1, 8),), 'outputs': ((1, 8),)}
    """
    fields: dict[str, object] = {"kind": op.kind}
    for name, default in _DEFAULTS.items():
        value = getattr(op, name)
        if value != default:
            fields[name] = value
    return fields


def encode_op(op: Op) -> bytes:
    """JSON of ``op``, defaults left out."""
    return _ENCODER.encode(op_fields(op))


def decode_op(text: bytes | str) -> Op:
    """Op from its JSON.

    Raises:
        InvalidInputError: if a field is missing, unknown to its type, or malformed.
    """
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        message = f"This is not an Op: {error}. Expected the JSON that a latency table holds."
        raise InvalidInputError(message) from error


def describe(op: Op) -> str:
    """One short line for people.

    >>> describe(conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3)))
    'conv 3x3 16->32 @8x8'
    """
    parts = [op.kind]
    if op.kernel:
        parts.append("x".join(map(str, op.kernel)))
    if op.kind in CONV_KINDS or op.kind in MATMUL_KINDS:
        parts.append(f"{op.in_channels}->{op.out_channels}")
    elif op.inputs:
        parts.append(str(op.in_channels))
    if op.spatial_in:
        parts.append("@" + "x".join(map(str, op.spatial_in)))
    if op.stride and set(op.stride) != {1}:
        parts.append(f"s{op.stride[0]}")
    if op.dilation and set(op.dilation) != {1}:
        parts.append(f"d{op.dilation[0]}")
    if op.groups > 1:
        parts.append("dw" if op.is_depthwise else f"g{op.groups}")
    if op.batch > 1:
        parts.append(f"n{op.batch}")
    parts.extend(f"+{item}" for item in op.epilogue)
    if op.layout != "nchw":
        parts.append(op.layout)
    return " ".join(parts)


def conv_op(  # noqa: PLR0913 - a convolution has this many sizes
    *,
    in_channels: int,
    out_channels: int,
    size: Shape,
    kernel: Shape,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    batch: int = 1,
    padding: Literal["same", "valid"] = "same",
    bias: bool = True,
    epilogue: tuple[str, ...] = (),
) -> Op:
    """A convolution as a network writes it, before a runtime has chosen a kernel.

    Args:
        in_channels: channels read.
        out_channels: channels written.
        size: spatial input sizes.
        kernel: window sizes, as many as ``size``.
        stride: step of the window, the same on every axis.
        dilation: spacing of the window's taps, the same on every axis.
        groups: channel groups; ``in_channels`` of them is a depthwise convolution.
        batch: images at once.
        padding: ``same`` keeps ``size / stride``; ``valid`` pads nothing.
        bias: whether a bias vector is added.
        epilogue: activation or sum folded in.

    Raises:
        InvalidInputError: if a size is not positive or channels do not divide into the groups.
    """
    if min((in_channels, out_channels, groups, stride, dilation, batch, *size, *kernel)) < 1:
        message = (
            "Every size of a convolution must be at least 1. Received: "
            f"in_channels={in_channels}, out_channels={out_channels}, size={size}, "
            f"kernel={kernel}, stride={stride}, dilation={dilation}, groups={groups}, "
            f"batch={batch}."
        )
        raise InvalidInputError(message)
    if len(size) != len(kernel):
        message = f"size={size} and kernel={kernel} must have as many axes as each other."
        raise InvalidInputError(message)
    if in_channels % groups or out_channels % groups:
        message = (
            f"Channels must divide into the groups. Received: in_channels={in_channels}, "
            f"out_channels={out_channels}, groups={groups}."
        )
        raise InvalidInputError(message)
    reach = tuple((k - 1) * dilation + 1 for k in kernel)
    if padding == "same":
        out = tuple(-(-s // stride) for s in size)
        total = tuple(
            max(0, (o - 1) * stride + r - s) for o, r, s in zip(out, reach, size, strict=True)
        )
        pads = tuple(t // 2 for t in total) + tuple(t - t // 2 for t in total)
    else:
        out = tuple((s - r) // stride + 1 for s, r in zip(size, reach, strict=True))
        pads = (0,) * (2 * len(size))
        if min(out) < 1:
            message = f"The window {reach} does not fit into the input {size} without padding."
            raise InvalidInputError(message)
    weight = (out_channels, in_channels // groups, *kernel)
    return Op(
        kind="conv",
        inputs=((batch, in_channels, *size),),
        outputs=((batch, out_channels, *out),),
        weights=(weight, (out_channels,)) if bias else (weight,),
        stride=(stride,) * len(size),
        pads=pads,
        dilation=(dilation,) * len(size),
        groups=groups,
        epilogue=epilogue,
    )


#: The fixed cost of one run of a model, whatever is in it.
SESSION = "session"
#: A whole network timed as one row; never priced, used to calibrate totals.
MODEL = "model"
