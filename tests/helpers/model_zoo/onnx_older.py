"""Forms that operators had in older operator sets: settings that are attributes, axes that flatten.

The onnx package tests only the newest form of most operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from model_zoo.case import Case, Draft

#: The oldest operator set in which a form is right, the newest, and how it is written.
Form = tuple[int, int, Callable[[Draft], list[str]]]


def _one(kind: str, *shape: int, **attributes: Any) -> Callable[[Draft], list[str]]:
    return lambda d: [d.node(kind, d.feed(*shape), **attributes)]


def _batch_norm(d: Draft) -> list[str]:
    return [d.node("BatchNormalization", d.feed(1, 4, 5, 5), *(d.weight(4) for _ in range(4)))]


def _training_norm(d: Draft) -> list[str]:
    x = d.node("BatchNormalization", d.feed(1, 4, 5, 5), *(d.weight(4) for _ in range(4)), writes=5)
    return [x]


def _mask(d: Draft) -> list[str]:
    y = d.node("Dropout", d.feed(2, 6), ratio=0.3, writes=2)
    return [d.node("Relu", y)]


def _both(d: Draft) -> list[str]:
    y = d.node("Dropout", d.feed(2, 6), ratio=0.3, writes=2)
    return [y, f"{d.nodes[-1].output[1]}"]


def _split(d: Draft) -> list[str]:
    y = d.node("Split", d.feed(1, 8, 3), axis=1, split=[3, 5], writes=2)
    return [d.node("Relu", y), d.nodes[-2].output[1]]


def _even_split(d: Draft) -> list[str]:
    y = d.node("Split", d.feed(1, 9, 3), axis=1, writes=3)
    return [y, d.nodes[-1].output[2]]


def _top(d: Draft) -> list[str]:
    return [d.node("TopK", d.feed(2, 9), d.ints(3), axis=1, writes=2), d.nodes[-1].output[1]]


def _largest(d: Draft) -> list[str]:
    return [d.node("TopK", d.feed(2, 9), k=3, axis=1, writes=2), d.nodes[-1].output[1]]


def _upsample(d: Draft) -> list[str]:
    x = d.conv(d.feed(1, 3, 5, 5), 3, 4)
    return [d.conv(d.node("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"), 4, 2)]


def _upsample_fed(d: Draft) -> list[str]:
    x = d.conv(d.feed(1, 3, 5, 5), 3, 4)
    scales = d.const([1, 1, 3, 3])
    return [d.conv(d.node("Upsample", x, scales, mode="linear"), 4, 2)]


def _resize_10(d: Draft) -> list[str]:
    return [d.node("Resize", d.feed(1, 3, 5, 5), d.const([1, 1, 2, 2]), mode="linear")]


def _resize_11(d: Draft) -> list[str]:
    x, none = d.feed(1, 3, 5, 5), d.const([])
    return [d.node("Resize", x, none, none, d.ints(1, 3, 7, 9), mode="cubic")]


def _softmax_head(d: Draft) -> list[str]:
    x = d.node("Flatten", d.conv(d.feed(1, 3, 6, 6), 3, 4))
    y = d.node("Gemm", x, d.weight(144, 5), d.weight(5))
    return [d.node("Softmax", y), d.node("LogSoftmax", y, axis=1)]


def _gemm(d: Draft) -> list[str]:
    return [d.node("Gemm", d.feed(7, 3), d.weight(5, 7), d.weight(3, 5), transA=1, transB=1)]


def _cells(kind: str, gates: int, **attributes: Any) -> Callable[[Draft], list[str]]:
    def write(d: Draft) -> list[str]:
        ways = 2 if attributes.get("direction") == "bidirectional" else 1
        weights = d.weight(ways, gates * 6, 5), d.weight(ways, gates * 6, 6)
        x = d.node(kind, d.feed(7, 2, 5), *weights, hidden_size=6, **attributes)
        return [d.node("Relu", x)]

    return write


def _loop(d: Draft) -> list[str]:
    from onnx import TensorProto, helper

    x = d.feed(2, 4)
    weight = d.weight(4, 4)
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", weight], ["next"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 4]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 4]),
        ],
    )
    turns, go = d.const(3, np.int64), d.const(True, np.bool_)  # noqa: FBT003 - a value
    return [d.node("Relu", d.node("Loop", turns, go, x, body=body))]


def _unsqueeze_chain(d: Draft) -> list[str]:
    x = d.node("Unsqueeze", d.feed(3, 4), axes=[0, 3])
    return [d.node("Squeeze", d.node("Relu", x), axes=[0])]


FORMS: Mapping[str, Form] = {
    "batch_norm_7": (7, 8, _batch_norm),
    "batch_norm_9": (9, 13, _batch_norm),
    "batch_norm_14": (14, 14, _batch_norm),
    "batch_norm_15": (15, 28, _batch_norm),
    "training_norm_9": (9, 13, _training_norm),
    "clip_6": (7, 10, _one("Clip", 1, 3, 4, 4, min=0.0, max=6.0)),
    "clip_6_open": (7, 10, _one("Clip", 1, 3, 4, 4, min=0.0)),
    "pad_2": (7, 10, _one("Pad", 1, 3, 4, 4, pads=[0, 0, 1, 1, 0, 0, 2, 2], value=0.5)),
    "pad_2_reflect": (7, 10, _one("Pad", 1, 3, 4, 4, pads=[0, 0, 1, 1, 0, 0, 1, 1],
                                  mode="reflect")),
    "slice_1": (7, 9, _one("Slice", 4, 8, starts=[1], ends=[-1], axes=[1])),
    "slice_1_whole": (7, 9, _one("Slice", 4, 8, starts=[1, 2], ends=[3, 9000])),
    "squeeze_1": (7, 12, _one("Squeeze", 1, 4, 1, 3, axes=[0, 2])),
    "squeeze_1_all": (7, 12, _one("Squeeze", 1, 4, 1, 3)),
    "squeeze_11": (11, 12, _one("Squeeze", 1, 4, 1, 3, axes=[-2])),
    "unsqueeze_1": (7, 12, _unsqueeze_chain),
    "reduce_sum_1": (7, 12, _one("ReduceSum", 2, 3, 4, axes=[1], keepdims=0)),
    "reduce_sum_1_all": (7, 12, _one("ReduceSum", 2, 3, 4)),
    "reduce_mean_11": (11, 17, _one("ReduceMean", 2, 3, 4, axes=[-1])),
    "reduce_max_1": (7, 17, _one("ReduceMax", 2, 3, 4, 4, axes=[2, 3], keepdims=0)),
    "reduce_l2_1": (7, 17, _one("ReduceL2", 2, 3, 4, axes=[2])),
    "reduce_log_sum_exp_1": (7, 17, _one("ReduceLogSumExp", 2, 3, 4, axes=[2])),
    "softmax_1": (7, 12, _one("Softmax", 2, 3, 4)),
    "softmax_1_axis_0": (7, 12, _one("Softmax", 2, 3, 4, axis=0)),
    "hardmax_1": (7, 12, _one("Hardmax", 2, 3, 4, axis=1)),
    "softmax_head": (7, 12, _softmax_head),
    "split_2": (7, 12, _split),
    "split_2_even": (7, 12, _even_split),
    "top_k_1": (7, 9, _largest),
    "top_k_10": (10, 10, _top),
    "dropout_7": (7, 9, _mask),
    "dropout_10": (10, 11, _both),
    "upsample_7": (7, 8, _upsample),
    "upsample_9": (9, 9, _upsample_fed),
    "resize_10": (10, 10, _resize_10),
    "resize_11": (11, 12, _resize_11),
    "gemm_7": (7, 10, _gemm),
    "flatten_1": (7, 8, _one("Flatten", 2, 3, 4, axis=2)),
    "cast_6": (7, 8, _one("Cast", 2, 3, to=1)),
    "mvn_9": (9, 12, _one("MeanVarianceNormalization", 2, 3, 4, 4)),
    "group_norm_18": (18, 20, lambda d: [d.node(
        "GroupNormalization", d.conv(d.feed(1, 3, 6, 6), 3, 8), d.weight(4), d.weight(4),
        num_groups=4)]),
    "group_norm_21": (21, 28, lambda d: [d.conv(d.node(
        "GroupNormalization", d.conv(d.feed(1, 3, 6, 6), 3, 8), d.weight(8), d.weight(8),
        num_groups=4), 8, 5)]),
    "average_pool_7": (7, 9, _one("AveragePool", 1, 3, 7, 7, kernel_shape=[3, 3],
                                  pads=[1, 1, 1, 1], count_include_pad=1)),
    "average_pool_10": (10, 18, _one("AveragePool", 1, 3, 8, 8, kernel_shape=[3, 3],
                                     strides=[2, 2], ceil_mode=1)),
    "average_pool_19": (19, 28, _one("AveragePool", 1, 3, 9, 9, kernel_shape=[3, 3],
                                     dilations=[2, 2])),
    "max_pool_8": (8, 9, lambda d: [d.node("MaxPool", d.feed(1, 3, 8, 8), kernel_shape=[2, 2],
                                           writes=2), d.nodes[-1].output[1]]),
    "max_pool_1d": (7, 28, _one("MaxPool", 1, 3, 9, kernel_shape=[3], strides=[2])),
    "lp_pool": (7, 28, _one("LpPool", 1, 3, 8, 8, kernel_shape=[2, 2], p=2)),
    "global_lp_pool": (7, 28, _one("GlobalLpPool", 1, 3, 8, 8, p=2)),
    "max_roi_pool": (7, 28, lambda d: [d.node(
        "MaxRoiPool", d.feed(1, 3, 8, 8), d.const([[0, 0, 0, 4, 4]]), pooled_shape=[2, 2])]),
    "random_uniform": (7, 28, lambda d: [d.node("Add", d.feed(2, 3), d.node(
        "RandomUniform", shape=[2, 3]))]),
    "random_normal_like": (7, 21, lambda d: [d.node("RandomNormalLike", d.feed(2, 3))]),
    "multinomial": (7, 21, _one("Multinomial", 2, 5, sample_size=3)),
    "scatter_9": (9, 10, lambda d: [d.node(
        "Scatter", d.feed(3, 4), d.const([[0, 1, 2, 0]], np.int64), d.weight(1, 4), axis=0)]),
    "lstm": (7, 28, _cells("LSTM", 4)),
    "lstm_both_ways": (7, 28, _cells("LSTM", 4, direction="bidirectional")),
    "lstm_backward": (14, 28, _cells("LSTM", 4, direction="reverse")),
    "gru": (7, 28, _cells("GRU", 3, linear_before_reset=1)),
    "gru_both_ways": (7, 28, _cells("GRU", 3, direction="bidirectional")),
    "rnn": (7, 28, _cells("RNN", 1, activations=["Relu"])),
    "loop": (13, 28, _loop),
    "sequences": (11, 28, lambda d: [d.node("SequenceAt", d.node(
        "SequenceConstruct", d.feed(2, 3), d.feed(2, 3)), d.const(1, np.int64))]),
    "sequences_joined": (11, 28, lambda d: [d.node("ConcatFromSequence", d.node(
        "SequenceErase", d.node("SequenceConstruct", d.feed(2, 3), d.feed(2, 3), d.feed(2, 3)),
        d.const(0, np.int64)), axis=1)]),
    "resize_19": (19, 28, lambda d: [d.node(
        "Resize", d.feed(1, 3, 6, 6), "", d.const([2.0, 2.0]), axes=[2, 3], mode="linear")]),
    "resize_18_kept": (18, 28, lambda d: [d.node(
        "Resize", d.feed(1, 3, 6, 8), "", "", d.ints(12, 12), axes=[2, 3],
        keep_aspect_ratio_policy="not_larger")]),
    "reshape_14": (14, 28, lambda d: [d.node(
        "Reshape", d.feed(2, 3, 4), d.ints(0, -1), allowzero=0)]),
    "reduce_max_18": (18, 28, lambda d: [d.node("ReduceMax", d.feed(2, 3, 4), d.ints(1))]),
    "reduce_mean_noop": (18, 28, lambda d: [d.node(
        "ReduceMean", d.feed(2, 3, 4), noop_with_empty_axes=1)]),
    "split_18": (18, 28, lambda d: [d.node("Split", d.feed(1, 10, 3), axis=1, num_outputs=3,
                                           writes=3), d.nodes[-1].output[2]]),
    "pad_18": (18, 28, lambda d: [d.node("Pad", d.feed(1, 3, 4, 4), d.ints(1, 2), "",
                                         d.ints(3))]),
}  # fmt: skip


def names() -> list[str]:
    """Each form in the oldest and in the newest operator set that has it."""
    return [f"{name}@{at}" for name, (low, high, _) in FORMS.items() for at in {low, high}]


def make(name: str) -> Case:
    """One of ``names``."""
    form, _, opset = name.partition("@")
    draft = Draft(int(opset))
    outputs = FORMS[form][2](draft)
    return draft.case(name, *outputs)
