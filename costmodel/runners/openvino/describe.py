"""Describes an executed node as an Op: what is done, in which kernel, type and layout."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from costmodel.layouts import block_of, physical
from costmodel.op import Attribute, Constant, Op, Shape, as_operands
from costmodel.runners.openvino.executed import Node, is_known
from costmodel.runners.openvino.model import ModelNode, Operand
from costmodel.runners.openvino.steps import (
    ELEMENTWISE,
    PRODUCT,
    PROGRAMS,
    QUANTISE,
    Step,
    externals,
    program_text,
)

#: Plain names of operations that would not be the field's word in small letters.
KINDS: Mapping[str, str] = {
    "AvgPool": "average_pool",
    "Ceiling": "ceil",
    "Clamp": "clip",
    "Convolution": "conv",
    "ConvolutionBackpropData": "conv_transpose",
    "Divide": "div",
    "FakeQuantize": "quantize",
    "GroupConvolution": "conv",
    "GroupConvolutionBackpropData": "conv_transpose",
    "HSigmoid": "hard_sigmoid",
    "HSwish": "hard_swish",
    "Interpolate": "resize",
    "MatMul": "matmul",
    "Maximum": "max",
    "Minimum": "min",
    "Multiply": "mul",
    "Negative": "neg",
    "PRelu": "prelu",
    "Power": "pow",
    "SoftPlus": "softplus",
    "SoftSign": "softsign",
    "StridedSlice": "slice",
    "Subtract": "sub",
    "VariadicSplit": "split",
}
_CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
_TRANSPOSED = frozenset({"ConvolutionBackpropData", "GroupConvolutionBackpropData"})
_POOLS = frozenset({"AvgPool", "MaxPool"})
_WINDOW = frozenset({"auto_pad", "dilations", "kernel", "pads_begin", "pads_end", "strides"})
#: Attributes that change no work.
_IDLE = frozenset({"auto_broadcast", "index_element_type", "output_type"})
_GLOBAL = {"ReduceMean": "global_average_pool", "ReduceMax": "global_max_pool"}


class NotDescribed(Exception):  # noqa: N818 - never leaves this package; carries a reason
    """An executed node that cannot become an Op, with the reason."""


@dataclass(slots=True)
class _Operands:
    """Operands sorted into data, weights and constants as they are met."""

    letters: str = ""
    data: list[Operand] = field(default_factory=list)
    weights: list[Shape] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    constant_dtypes: list[str] = field(default_factory=list)
    scalars: list[int] = field(default_factory=list)

    def add(self, operand: Operand, *, stored: bool) -> str:
        """Note one operand and return its name in a program.

        Args:
            operand: what the model reads.
            stored: whether small constants are settings, kept by value, rather than weights.
        """
        if not operand.constant:
            self.letters += "d"
            self.data.append(operand)
            return f"d{len(self.data) - 1}"
        if stored and operand.values is not None:
            self.letters += "c"
            if not operand.shape:
                self.scalars.append(len(self.constants))
            self.constants.append(operand.values)
            self.constant_dtypes.append(operand.dtype)
            return f"c{len(self.constants) - 1}"
        if operand.dtype.startswith(("int64", "int32", "bool")):
            message = f"a constant operand of {prod(operand.shape)} whole numbers is too large"
            raise NotDescribed(message)
        self.letters += "w"
        self.weights.append(operand.shape)
        return f"w{len(self.weights) - 1}"


def describe(node: Node, steps: Sequence[Step], reads: Sequence[Node], ports: Sequence[int]) -> Op:
    """The work of one executed node.

    Args:
        node: from the execution graph.
        steps: what it carries out of the model; none for a reordering.
        reads: the nodes that its data comes from, in its own order.
        ports: which output of each of ``reads``.

    Raises:
        NotDescribed: if there is no Op for it.
    """
    layouts = [item.layouts[port] for item, port in zip(reads, ports, strict=True)]
    odd = [name for name in (*layouts, *node.layouts) if not is_known(name)]
    if odd:
        message = f"{node.layer} in the layout {odd[0]!r}, which has no name here"
        raise NotDescribed(message)
    if not steps:
        return _own_kernel(node, reads, ports)
    if node.layer in PROGRAMS or steps[0].type in ELEMENTWISE:
        fields = _program(steps)
    else:
        fields = _kernel(node, steps)
    data: list[Operand] = fields.pop("data")  # type: ignore[assignment]
    if len(data) != len(reads):
        message = f"{node.layer} reads {len(reads)} tensors, its nodes in the model {len(data)}"
        raise NotDescribed(message)
    shapes = [item.shapes[port] for item, port in zip(reads, ports, strict=True)]
    dtypes = [item.dtypes[port] for item, port in zip(reads, ports, strict=True)]
    if fields["kind"] == "conv":
        weights: Sequence[Shape] = fields["weights"]  # type: ignore[assignment]
        filters = next(size for size in (*weights, *shapes[1:]) if len(size) > 2)
        fields["stride"] = _executed_stride(fields, filters, shapes[0][2:], node.shapes[0][2:])
    return _op(node, shapes, dtypes, layouts, fields)


def _own_kernel(node: Node, reads: Sequence[Node], ports: Sequence[int]) -> Op:
    """A reordering, or the pooling of single pixels that stands in for a stride."""
    if node.layer not in {"Pooling", "Reorder"} or len(reads) != 1:
        message = f"{node.layer} of the plug-in's own, which stands for no node of the model"
        raise NotDescribed(message)
    source, port = reads[0], ports[0]
    fields: dict[str, object] = {"kind": "reorder"}
    if node.layer == "Pooling":
        size, smaller = source.shapes[port][2:], node.shapes[0][2:]
        ones = (1,) * len(size)
        window = {"stride": ones, "pads": (0,) * (2 * len(size)), "dilation": ones}
        names = {"kernel_shape": ones, "opset": "opset8", "rounding_type": "floor"}
        stride = _stride_between(ones, size, smaller)
        fields = {"kind": "max_pool", **window, "stride": stride, "attributes": names}
    elif node.shapes[0][1:2] and node.shapes[0][1] % block_of(node.layouts[0]):
        fields["attributes"] = {"channels": node.shapes[0][1]}  # the sizes are filled up
    layouts = [source.layouts[port]]
    return _op(node, [source.shapes[port]], [source.dtypes[port]], layouts, fields)


def _executed_stride(
    fields: Mapping[str, object], weights: Shape, size: Shape, smaller: Shape
) -> Shape:
    """Stride that leads from the sizes read to the sizes written.

    The plug-in moves the stride of a 1x1 convolution to kernels before it: then the model says
    another than what is executed.
    """
    stride, pads, dilation = (fields[name] for name in ("stride", "pads", "dilation"))
    half = len(size)
    kernel = weights[-half:]
    padded = tuple(
        n + pads[i] + pads[i + half] - (kernel[i] - 1) * dilation[i]  # type: ignore[index]
        for i, n in enumerate(size)
    )
    return _stride_between(stride, padded, smaller)  # type: ignore[arg-type]


def _stride_between(stride: Shape, size: Shape, smaller: Shape) -> Shape:
    """``stride`` per axis where it fits, else the least that does."""
    found = []
    for wanted, n, few in zip(stride, size, smaller, strict=True):
        steps = [wanted, *range(1, n + 1)]
        fitting = [step for step in steps if step >= 1 and (n - 1) // step + 1 == few]
        if not fitting:
            message = f"a window over {n} positions cannot give {few}"
            raise NotDescribed(message)
        found.append(fitting[0])
    return tuple(found)


def _op(
    node: Node,
    shapes: Sequence[Shape],
    dtypes: Sequence[str],
    layouts: Sequence[str],
    fields: dict[str, object],
) -> Op:
    """Join what the model and the execution graph say."""
    layout = node.layouts[0]
    dtype = dtypes[0] if dtypes else node.dtypes[0]
    attributes: dict[str, Attribute] = dict(fields.pop("attributes", {}))  # type: ignore[call-overload]
    if set(layouts) - {layout}:
        attributes["input_layouts"] = ",".join(layouts)
    if set(node.layouts) - {layout}:
        attributes["output_layouts"] = ",".join(node.layouts)
    if set(node.dtypes) - {dtype}:
        attributes["output_dtypes"] = ",".join(node.dtypes)
    return Op(
        implementation=node.implementation,
        inputs=tuple(physical(shape, layout) for shape in shapes),
        outputs=tuple(physical(shape, layout) for shape in node.shapes),
        dtype=dtype,
        layout=layout,
        input_dtypes=tuple(dtypes) if set(dtypes) - {dtype} else (),
        attributes=tuple(sorted(attributes.items())),
        **fields,  # type: ignore[arg-type]
    )


def _program(steps: Sequence[Step]) -> dict[str, object]:
    """Elementwise operations: one by its name, several as a program."""
    operands = _Operands()
    names = {item.source: operands.add(item, stored=False) for item in externals(steps)}
    types = {step.type for step in steps}
    wrong = sorted(types - ELEMENTWISE - {PRODUCT})
    if wrong:
        message = f"{wrong[0]} inside a generated kernel is not known here"
        raise NotDescribed(message)
    attributes: dict[str, Attribute] = {}
    single = len(steps) == 1 and PRODUCT not in types
    if not single or len(set(steps[0].operands)) < len(steps[0].operands):
        attributes["program"] = program_text(steps, names)
    kind = kind_of(steps[0].type) if single else "mlp" if PRODUCT in types else "eltwise"
    return {
        "kind": kind,
        "data": operands.data,
        "weights": tuple(operands.weights),
        "operands": as_operands(operands.letters),
        "attributes": attributes,
    }


def _kernel(node: Node, steps: Sequence[Step]) -> dict[str, object]:
    """A kernel with a main operation and a chain of others folded in behind it."""
    main = steps[0].node
    if main is None:
        message = f"{node.layer} without an operation of the model"
        raise NotDescribed(message)
    operands = _Operands()
    product = main.type in _CONVOLUTIONS | _TRANSPOSED | {"MatMul"}
    for item in main.operands:
        operands.add(item, stored=not product)
    fields, attributes = _main(main, operands)
    epilogue: list[str] = []
    for index, step in enumerate(steps[1:], start=1):
        word = _folded(step, index, operands, bias=product and index == 1)
        if word != "bias":
            epilogue.append(word)
    if operands.scalars:
        attributes["scalars"] = tuple(operands.scalars)
    wide = set(operands.constant_dtypes) - {"int64"}
    return {
        "data": operands.data,
        "weights": tuple(operands.weights),
        "operands": as_operands(operands.letters),
        "constants": tuple(operands.constants),
        "constant_dtypes": tuple(operands.constant_dtypes) if wide else (),
        "epilogue": tuple(epilogue),
        "attributes": attributes,
        **fields,
    }


def _main(main: ModelNode, operands: _Operands) -> tuple[dict[str, object], dict[str, Attribute]]:
    """Fields and attributes of the main operation."""
    settings = dict(main.attributes)
    rest = {k: v for k, v in settings.items() if k not in _IDLE}
    if main.type in _CONVOLUTIONS | _TRANSPOSED:
        groups = _plain_filter(main, operands)
        padding = {"output_padding": rest["output_padding"]} if "output_padding" in rest else {}
        if not any(padding.get("output_padding", ())):  # type: ignore[arg-type]
            padding = {}
        return {"kind": kind_of(main.type), "groups": groups, **_window(settings)}, padding
    if main.type == "MatMul":
        kind = "gemm" if operands.weights and len(operands.data) == 1 else "matmul"
        flags = {"transA": settings["transpose_a"], "transB": settings["transpose_b"]}
        return {"kind": kind}, {k: v for k, v in flags.items() if v}
    if main.opset != "opset1":
        rest["opset"] = main.opset
    if main.type in _POOLS:
        rest = {k: v for k, v in rest.items() if k not in _WINDOW and (k, v) != ("axis", 0)}
        rest["kernel_shape"] = settings["kernel"]
        return {"kind": kind_of(main.type), **_window(settings)}, rest
    axes = set(operands.constants[0]) if operands.constants else set()
    rank = len(main.operands[0].shape)
    if main.type in _GLOBAL and axes == set(range(2, rank)) and rest.get("keep_dims"):
        return {"kind": _GLOBAL[main.type]}, {**rest, "type": main.type}
    return {"kind": kind_of(main.type)}, {**rest, "type": main.type}


def _plain_filter(main: ModelNode, operands: _Operands) -> int:
    """Take the axis of groups out of a grouped filter's sizes; return the number of groups."""
    if not main.type.startswith("Group"):
        return 1
    if not operands.weights:
        message = f"{main.type} whose filter is computed is not known here"
        raise NotDescribed(message)
    groups, first, second, *kernel = operands.weights[0]
    operands.weights[0] = (groups * first, second, *kernel)
    return groups


def _window(settings: Mapping[str, Attribute]) -> dict[str, object]:
    ends = (settings["pads_begin"], settings["pads_end"])
    return {
        "stride": settings["strides"],
        "pads": (*ends[0], *ends[1]),  # type: ignore[misc]
        "dilation": settings.get("dilations", ()),
    }


def _folded(step: Step, index: int, operands: _Operands, *, bias: bool) -> str:
    """Word of a folded step for ``Op.epilogue``; its operand joins the others."""
    chained = [o for o in step.operands if isinstance(o, int)]
    if chained != [index - 1] or step.type not in ELEMENTWISE:
        message = f"{step.type} folded into another kernel is not known here"
        raise NotDescribed(message)
    if step.type == QUANTISE:
        return kind_of(step.type)
    for operand in step.operands:
        if isinstance(operand, Operand):
            letter = operands.add(operand, stored=False)[0]
            if step.type == "Add" and letter == "d":
                return "sum"
            if step.type == "Add" and bias:
                operands.weights[-1] = (max(operand.shape, default=1),)
                return "bias"
    return kind_of(step.type)


def kind_of(op_type: str) -> str:
    """Plain name of an operation.

    >>> kind_of("GroupConvolution"), kind_of("ShuffleChannels"), kind_of("Relu")
    ('conv', 'shuffle_channels', 'relu')
    """
    return KINDS.get(op_type) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op_type).lower()
