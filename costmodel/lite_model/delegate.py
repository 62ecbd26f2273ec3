"""Which operators XNNPACK takes over, by rule (seen on LiteRT 2.3, x86 and ARM).

The rest runs in TensorFlow Lite's own kernels. The runner asks the installed runtime instead; a
test holds this against it.
"""

from __future__ import annotations

import numpy as np

from costmodel.lite_model.graph import LiteModel, LiteOperator
from costmodel.lite_model.kernels import POOLS

#: Taken over whether numbers are float32 or int8.
_BOTH = frozenset(
    {"ADD", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE"}
    | {"DEQUANTIZE", "ELU", "EXPAND_DIMS", "FULLY_CONNECTED", "LEAKY_RELU", "LOGISTIC"}
    | {"MAX_POOL_2D", "MEAN", "MUL", "PAD", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE"}
    | {"RESIZE_BILINEAR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "SUB"}
    | {"SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV"}
)
_FLOAT = _BOTH | {
    *("ABS", "AVERAGE_POOL_2D", "CEIL", "COS", "DIV", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG"),
    *("MAXIMUM", "MINIMUM", "NEG", "PRELU", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT"),
    *("SIN", "SOFTMAX", "SQRT", "SQUARE", "SQUARED_DIFFERENCE"),
}
#: Most tensors that it joins or splits at once.
_MOST_JOINED, _MOST_SPLIT = 5, 4


def delegated(model: LiteModel) -> frozenset[int]:
    """Positions of the operators that XNNPACK would take over."""
    return frozenset(i for i, item in enumerate(model.operators) if _taken(model, item))


def _taken(model: LiteModel, operator: LiteOperator) -> bool:
    tensors = model.tensors
    dtypes = {tensors[i].dtype for i in operator.outputs}
    known = _FLOAT if dtypes == {"float32"} else _BOTH if dtypes == {"int8"} else frozenset[str]()
    if operator.code not in known:
        return False
    if operator.code == "CONCATENATION":
        return len(operator.inputs) <= _MOST_JOINED
    if operator.code in POOLS:
        options = dict(operator.options)
        window = [options.get(name) for name in ("filter_height", "filter_width")]
        steps = [options.get(name) for name in ("stride_h", "stride_w")]
        return all(int(str(s)) <= int(str(w)) for s, w in zip(steps, window, strict=True))
    if operator.code == "SPLIT":
        return len(operator.outputs) <= _MOST_SPLIT
    if operator.code == "STRIDED_SLICE":
        stride = tensors[operator.inputs[3]].values
        return stride is not None and bool(np.all(np.asarray(stride) == 1))
    return operator.activation not in {"tanh", "sign_bit"}
