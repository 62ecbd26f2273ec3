"""Standard nodes with the same sizes, for operators whose sizes onnx cannot infer.

Only sizes and element types are theirs: a normalisation becomes an ``Identity``, a convolution with
an activation a ``Conv``. Inference then goes through such operators in one pass. What has no
stand-in here is asked from ONNX Runtime, see ``onnx_asked``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from costmodel.op import Shape

#: Where ONNX Runtime's own operators are: some are among the standard ones.
_HOMES = frozenset({"", "com.microsoft"})
#: Begins the names of tensors that stand between the nodes of one stand-in.
INNER = "costmodel/inner/"
_TO_FRONT, _TO_BACK = [0, 3, 1, 2], [0, 2, 3, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _At:
    """A node that is to be stood in for.

    Attributes:
        node: it.
        shapes: sizes of stored tensors.
        opset: of the standard operators.
    """

    node: onnx.NodeProto
    shapes: Mapping[str, Shape]
    opset: int

    def reads(self, *positions: int) -> list[str]:
        """Names of operands; those left out at the end are not listed."""
        names = [self.node.input[i] if i < len(self.node.input) else "" for i in positions]
        while names and not names[-1]:
            names.pop()
        return names

    def writes(self, position: int = 0) -> str:
        """Name of a result; empty where nobody wants it."""
        return self.node.output[position] if position < len(self.node.output) else ""

    def number(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return next((item.i for item in self.node.attribute if item.name == name), default)

    def inner(self, position: int = 0) -> str:
        """Name of a tensor between the nodes of this stand-in."""
        return f"{INNER}{self.writes()}/{position}"

    def like(self, op_type: str, reads: Iterable[str], *names: str) -> onnx.NodeProto:
        """A standard node in this one's place, with those of its attributes that are named."""
        made = helper.make_node(op_type, list(reads), [self.writes()])
        made.attribute.extend(item for item in self.node.attribute if item.name in names)
        return made


_Nodes = list[onnx.NodeProto] | None
_Rule = Callable[[_At], _Nodes]


def stand_ins(node: onnx.NodeProto, shapes: Mapping[str, Shape], opset: int) -> _Nodes:
    """Standard nodes that write what ``node`` does, as far as sizes and types go.

    Args:
        node: of a model that imports ``opset``.
        shapes: sizes of stored tensors.
        opset: of the standard operators; 0 where there are none.

    Returns:
        The nodes; ``None`` where ``node`` needs no stand-in, or has none.
    """
    rule = _RULES.get(node.op_type) if node.domain in _HOMES else None
    if node.op_type in _STANDARD_TOO and not node.domain and onnx.defs.has(node.op_type, opset):
        rule = None
    return rule(_At(node=node, shapes=shapes, opset=opset)) if rule else None


def _same(*results: int) -> _Rule:
    """Results with the sizes of the first operand."""

    def rule(at: _At) -> _Nodes:
        names = [at.writes(position) for position in results or (0,)]
        return [helper.make_node("Identity", at.reads(0), [name]) for name in names if name]

    return rule


def _operands(op_type: str, *positions: int) -> _Rule:
    """A standard operator on some of the operands, with all of its attributes."""

    def rule(at: _At) -> _Nodes:
        return [at.like(op_type, at.reads(*positions), *(a.name for a in at.node.attribute))]

    return rule


_WINDOW = ("auto_pad", "ceil_mode", "count_include_pad", "dilations", "group", "kernel_shape",
           "output_padding", "output_shape", "pads", "storage_order", "strides")  # fmt: skip


def _window(op_type: str, *positions: int, turned: bool = False) -> _Rule:
    """A convolution or pooling, with channels last where ``turned`` or the node says so."""

    def rule(at: _At) -> _Nodes:
        if not turned and not at.number("channels_last"):
            return [at.like(op_type, at.reads(*positions), *_WINDOW)]
        names = at.reads(*positions)
        operands = names if turned else names[:1]
        made = [
            helper.make_node("Transpose", [name], [at.inner(i)], perm=_TO_FRONT)
            for i, name in enumerate(operands)
        ]
        first = [at.inner(i) for i in range(len(operands))]
        inner = at.like(op_type, [*first, *names[len(operands) :]], *_WINDOW)
        inner.output[0] = at.inner(9)
        back = helper.make_node("Transpose", [at.inner(9)], [at.writes()], perm=_TO_BACK)
        return [*made, inner, back]

    return rule


def _product(at: _At) -> _Nodes:
    """A product of matrices, either of which may lie across."""
    if at.number("transBatchA") or at.number("transBatchB"):
        return None
    names = at.reads(0, 1)
    first = "...ji" if at.number("transA") else "...ij"
    second = "kj" if at.number("transB") else "jk"
    if (first, second) == ("...ij", "jk"):
        return [at.like("MatMul", names)]
    # An ellipsis stands for as many axes on both sides, or there must be none.
    batched = "" if len(at.shapes.get(names[-1], ())) == 2 else "..."
    equation = f"{first},{batched}{second}->...ik"
    return [helper.make_node("Einsum", names, [at.writes()], equation=equation)]


def _float_product(at: _At) -> _Nodes:
    """A product of integers whose result is float."""
    product = at.like("MatMul", at.reads(0, 1))
    product.output[0] = at.inner()
    return [product, _cast(at)]


def _cast(at: _At) -> onnx.NodeProto:
    return helper.make_node("Cast", [at.inner()], [at.writes()], to=TensorProto.FLOAT)


def _packed_product(at: _At) -> _Nodes:
    """A product with packed weights, whose width an attribute has."""
    rows, columns = at.number("K"), at.number("N")
    if min(rows, columns) < 1:
        return None
    size, weights = at.inner(0), at.inner(1)
    value = helper.make_tensor("value", TensorProto.INT64, [2], (rows, columns))
    return [
        helper.make_node("Constant", [], [size], value=value),
        helper.make_node("ConstantOfShape", [size], [weights]),
        at.like("MatMul", [*at.reads(0), weights]),
    ]


def _quantised_gemm(at: _At) -> _Nodes:
    names = at.reads(0, 3, 6)
    made = at.like("Gemm", names, "transA", "transB")
    if at.reads(8):
        return [made]
    made.output[0] = at.inner()
    return [made, _cast(at)]


def _concat(at: _At) -> _Nodes:
    """Every third operand is data; scales and zero points are between them."""
    return [at.like("Concat", at.node.input[2::3], "axis")]


def _halved(at: _At) -> _Nodes:
    """The first half of the last axis."""
    more = {"num_outputs": 2} if at.opset >= 18 else {}
    names = [at.writes(), at.inner()]
    return [helper.make_node("Split", at.reads(0), names, axis=-1, **more)]


def _embedded(at: _At) -> _Nodes:
    """Rows of a table of words; the mask's index has one number for each sentence."""
    made = [
        helper.make_node("Gather", [*at.reads(2), *at.reads(0)], [name])
        for name in (at.writes(0), at.writes(2))
        if name
    ]
    if at.writes(1):
        made.append(helper.make_node("ArgMax", at.reads(0), [at.inner()], axis=1, keepdims=0))
        made.append(helper.make_node("Cast", [at.inner()], [at.writes(1)], to=TensorProto.INT32))
    return made


def _transform(at: _At) -> _Nodes:
    """A transform of real numbers has one side unless told otherwise, which onnx takes for two."""
    others = [item.name for item in at.node.attribute if item.name != "onesided"]
    made = at.like("STFT", at.node.input, *others)
    made.attribute.append(helper.make_attribute("onesided", at.number("onesided", 1)))
    return [made]


#: Names that standard operators have as well, some of them in newer operator sets only.
_STANDARD_TOO = frozenset(
    {"DequantizeLinear", "GatherND", "Gelu", "LayerNormalization", "Pad", "QLinearConv", "Range"}
    | {"QuantizeLinear", "RotaryEmbedding", "Trilu"}
)
_LIKE_THEIR_INPUT = frozenset(
    {"Affine", "BiasAdd", "BiasDropout", "BiasGelu", "BiasSoftmax", "FastGelu", "Gelu", "GroupNorm"}
    | {"GroupNormalization", "ImageScaler", "Inverse", "LayerNormalization", "ParametricSoftplus"}
    | {"QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "QuickGelu", "RotaryEmbedding"}
    | {"ScaledTanh", "SimplifiedLayerNormalization", "Trilu"}
)
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_LIKE_THEIR_INPUT, _same()),
    **{
        name: _operands(name, 0, 1, 2)
        for name in ("DequantizeLinear", "GatherND", "Pad", "QuantizeLinear", "Range")
    },
    "SkipGroupNorm": _same(0, 1),
    "SkipLayerNormalization": _same(0, 3),
    "SkipSimplifiedLayerNormalization": _same(0, 3),
    "FusedConv": _window("Conv", 0, 1, 2),
    "NhwcConv": _window("Conv", 0, 1, turned=True),
    "NhwcFusedConv": _window("Conv", 0, 1, turned=True),
    "NhwcMaxPool": _window("MaxPool", 0, turned=True),
    "QLinearAveragePool": _window("AveragePool", 0),
    "QLinearGlobalAveragePool": _window("GlobalAveragePool", 0),
    "QLinearConv": _window("Conv", 0, 3),
    "FusedMatMul": _product,
    "FusedMatMulActivation": _product,
    "TransposeMatMul": _product,
    "DynamicQuantizeMatMul": _operands("MatMul", 0, 1),
    "MatMulIntegerToFloat": _float_product,
    "MatMulNBits": _packed_product,
    "MatMulBnb4": _packed_product,
    "FusedGemm": lambda at: [at.like("Gemm", at.reads(0, 1, 2), "transA", "transB")],
    "GemmFastGelu": lambda at: [at.like("MatMul", at.reads(0, 1))],
    "QGemm": _quantised_gemm,
    "QLinearAdd": lambda at: [at.like("Add", at.reads(0, 3))],
    "QLinearMul": lambda at: [at.like("Mul", at.reads(0, 3))],
    "QLinearConcat": _concat,
    "QLinearWhere": lambda at: [at.like("Where", at.reads(0, 1, 4))],
    "BiasSplitGelu": _halved,
    "STFT": _transform,
    "EmbedLayerNormalization": _embedded,
}
