"""Other people's words for kinds, layouts, element types and activations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from costmodel.errors import InvalidInputError
from costmodel.kinds import (
    ELEMENTWISE,
    MATMUL_KINDS,
    MOVES,
    NAMES,
    OWN_RULE,
    POOL_KINDS,
    RECIPES,
    REDUCTIONS,
    UNCOUNTED,
    WINDOWS,
    kind_of,
)
from costmodel.op import CONV_KINDS, MODEL, SESSION

#: Words that are no kind here, and the kind that they mean. Dashes, dots and case do not matter.
_KINDS: Mapping[str, str] = {
    "adaptive_avg_pool2d": "global_average_pool",
    "addmm": "gemm",
    "avg_pool": "average_pool",
    "avg_pool2d": "average_pool",
    "avgpool": "average_pool",
    "average_pool_2d": "average_pool",
    "batchnorm": "batch_norm",
    "batch_normalization": "batch_norm",
    "bn": "batch_norm",
    "conv2d": "conv",
    "conv_2d": "conv",
    "convolution": "conv",
    "convolution2d": "conv",
    "clamp": "clip",
    "concatenation": "concat",
    "conv_bn_relu": "conv",
    "conv_relu": "conv",
    "conv2d_transpose": "conv_transpose",
    "transposed_conv": "conv_transpose",
    "transpose_conv": "conv_transpose",
    "deconv": "conv_transpose",
    "dense": "gemm",
    "depthwise": "depthwise_conv",
    "depthwise_conv2d": "depthwise_conv",
    "depthwise_conv_2d": "depthwise_conv",
    "depthwise_convolution": "depthwise_conv",
    "dwconv": "depthwise_conv",
    "dwconv_bn_relu": "depthwise_conv",
    "dwconv_relu": "depthwise_conv",
    "eltwise_add": "add",
    "elementwise_add": "add",
    "fc": "gemm",
    "fully_connected": "gemm",
    "gap": "global_average_pool",
    "global_avg_pool": "global_average_pool",
    "global_avgpool": "global_average_pool",
    "global_pool": "global_average_pool",
    "group_conv": "conv",
    "group_conv2d": "conv",
    "grouped_conv": "conv",
    "hardswish": "hard_swish",
    "hswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
    "hsigmoid": "hard_sigmoid",
    "inner_product": "gemm",
    "linear": "gemm",
    "logistic": "sigmoid",
    "maxpool": "max_pool",
    "maxpool2d": "max_pool",
    "max_pool2d": "max_pool",
    "max_pool_2d": "max_pool",
    "avgpool2d": "average_pool",
    "mean": "global_average_pool",
    "multiply": "mul",
    "network": MODEL,
    "pointwise_conv": "conv",
    "pointwise_conv2d": "conv",
    "upsample": "resize",
    "resize_bilinear": "resize",
    "resize_nearest_neighbor": "resize",
}
#: The one word that is not a kind: a convolution whose groups are its channels.
DEPTHWISE = "depthwise_conv"
#: Steps of training.
_BACKWARD = re.compile(r"(?:^|_)(?:bwd|backward|grad|gradient|wgrad|dgrad|bprop)(?:_|$)")
_KNOWN = frozenset(
    {*CONV_KINDS, *MATMUL_KINDS, *POOL_KINDS, *MOVES, *ELEMENTWISE, *REDUCTIONS, *WINDOWS}
    | {*RECIPES, *OWN_RULE, *UNCOUNTED, *NAMES.values(), MODEL, SESSION, DEPTHWISE}
)

_LAYOUTS = {"nchw": "nchw", "nhwc": "nhwc", "channels_first": "nchw", "channels_last": "nhwc"}
_DTYPES: Mapping[str, str] = {
    **dict.fromkeys(("float32", "fp32", "f32", "float", "single"), "float32"),
    **dict.fromkeys(("float16", "fp16", "f16", "half"), "float16"),
    **dict.fromkeys(("bfloat16", "bf16"), "bfloat16"),
    **dict.fromkeys(("int8", "i8", "qint8", "quint8", "uint8", "w8a8"), "int8"),
    **dict.fromkeys(("float64", "fp64", "double"), "float64"),
}
#: Activations that fuse, by other words.
_ACTIVATIONS: Mapping[str, str] = {
    **dict.fromkeys(("", "none", "linear", "identity", "no", "false", "0", "nan"), ""),
    "relu6": "clip",
    "clamp": "clip",
    "hardswish": "hard_swish",
    "hswish": "hard_swish",
    "hard_swish": "hard_swish",
    "hard_sigmoid": "hard_sigmoid",
    "swish": "silu",
    "logistic": "sigmoid",
}


@cache
def kind_word(text: str) -> str:
    """The kind that somebody's word for an operator means, or ``depthwise_conv``.

    Args:
        text: such as ``Conv2D``, ``depthwise_conv2d``, ``nn.ReLU``, ``dwconv-bn-relu``.

    Raises:
        InvalidInputError: for steps of training, and words that mean nothing here.

    >>> kind_word("Conv2D"), kind_word("dwconv-bn-relu"), kind_word("GlobalAveragePool")
    ('conv', 'depthwise_conv', 'global_average_pool')
    """
    plain = _plain(text)
    if _BACKWARD.search(plain):
        message = f"{text!r} is a step of training, not of inference"
        raise InvalidInputError(message)
    for name in (plain, _plain(kind_of(text.strip()))):
        kind = _KINDS.get(name, name)
        if kind in _KNOWN:
            return kind
    message = f"{text!r} is no kind of kernel that is known here"
    raise InvalidInputError(message)


@cache
def layout_word(text: str) -> str:
    """``nchw`` or ``nhwc``.

    Raises:
        InvalidInputError: for another layout.

    >>> layout_word("NHWC"), layout_word("channels_first")
    ('nhwc', 'nchw')
    """
    return _known(_LAYOUTS, text, "layout")


@cache
def dtype_word(text: str) -> str:
    """Element type by its numpy name; 8-bit integers of any sort are ``int8``.

    Raises:
        InvalidInputError: for another one.

    >>> dtype_word("fp16"), dtype_word("Float"), dtype_word("torch.float32")
    ('float16', 'float32', 'float32')
    """
    return _known(_DTYPES, text.rpartition(".")[2], "element type")


@cache
def activation_word(text: str) -> tuple[str, ...]:
    """Epilogue of an activation's name, ``+`` between several; empty for none.

    >>> activation_word("ReLU"), activation_word("none"), activation_word("add+relu6")
    (('relu',), (), ('add', 'clip'))
    """
    words = (_plain(word) for word in text.split("+"))
    return tuple(word for word in (_ACTIVATIONS.get(word, word) for word in words) if word)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower().removeprefix("nn.")).strip("_")


def _known(words: Mapping[str, str], text: str, what: str) -> str:
    found = words.get(text.strip().lower())
    if found is None:
        message = f"{text!r} is no {what} that is known here ({', '.join(words)})"
        raise InvalidInputError(message)
    return found
