"""Operators outside the ONNX standard that the runtime knows: ``com.microsoft`` and ``ai.onnx.ml``.

Exporters and the runtime's own optimisers write them. Left out: searches for text that hold whole
decoders, text splitters, and operators that only other processors have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from model_zoo.case import Case, Draft

U8, I8, I32, I64, F16 = np.uint8, np.int8, np.int32, np.int64, np.float16
Recipe = Callable[[Draft], str]


def _ms(d: Draft, kind: str, *reads: str, **more: Any) -> str:
    return d.node(kind, *reads, domain="com.microsoft", **more)


def _ml(d: Draft, kind: str, *reads: str, **more: Any) -> str:
    return d.node(kind, *reads, domain="ai.onnx.ml", **more)


def _unary(kind: str, *shape: int, **more: Any) -> Recipe:
    """Between two standard operators: what comes behind needs its sizes."""
    return lambda d: d.node("Exp", _ms(d, kind, d.node("Neg", d.feed(*shape)), **more))


def _normed(kind: str, weights: int) -> Recipe:
    def write(d: Draft) -> str:
        given = [d.weight(8) for _ in range(weights)]
        return d.node("Exp", _ms(d, kind, d.feed(2, 5, 8), d.feed(2, 5, 8), *given))

    return write


def _scale(d: Draft) -> str:
    return d.const(0.05)


def _zero(d: Draft, dtype: Any = U8) -> str:
    return d.const(3, dtype)


def _q(d: Draft, *shape: int, dtype: Any = U8) -> list[str]:
    """A quantised tensor that depends on what is fed, with its scale and zero point."""
    scale, zero = _scale(d), _zero(d, dtype)
    return [d.node("QuantizeLinear", d.feed(*shape), scale, zero), scale, zero]


def _qw(d: Draft, *shape: int, dtype: Any = I8) -> list[str]:
    return [d.const(d.rng.integers(0, 9, shape), dtype), _scale(d), d.const(0, dtype)]


def _back(d: Draft, x: str) -> str:
    return d.node("DequantizeLinear", x, _scale(d), _zero(d))


def _attention(d: Draft) -> str:
    y = _ms(d, "Attention", d.feed(2, 5, 8), d.weight(8, 24), d.weight(24), num_heads=2)
    return d.node("MatMul", y, d.weight(8, 3))


def _mha(d: Draft) -> str:
    y = _ms(d, "MultiHeadAttention", d.feed(2, 5, 8), d.feed(2, 7, 8), d.feed(2, 7, 8), num_heads=2)
    return d.node("MatMul", y, d.weight(8, 3))


def _gqa(d: Draft) -> str:
    q, k, v = (d.node("MatMul", d.feed(1, 4, 32), d.weight(32, w)) for w in (32, 16, 16))
    lengths, total = d.const([3], I32), d.const(4, I32)
    y = _ms(d, "GroupQueryAttention", q, k, v, "", "", lengths, total, num_heads=4, kv_num_heads=2)
    return d.node("MatMul", y, d.weight(32, 5))


def _rotary(d: Draft) -> str:
    caches = d.weight(16, 4), d.weight(16, 4)
    ids = d.const(np.arange(5)[None], I64)
    return d.node("Neg", _ms(d, "RotaryEmbedding", d.feed(1, 2, 5, 8), ids, *caches))


def _nbits(d: Draft) -> str:
    weights = d.const(d.rng.integers(0, 255, (6, 2, 8)), U8)
    y = _ms(d, "MatMulNBits", d.feed(3, 32), weights, d.weight(6, 2), K=32, N=6, bits=4,
            block_size=16)  # fmt: skip
    return d.node("Relu", y)


def _bnb4(d: Draft) -> str:
    weights = d.const(d.rng.integers(0, 255, (96,)), U8)
    return d.node("Relu", _ms(d, "MatMulBnb4", d.feed(3, 32), weights, d.weight(12), K=32, N=6,
                              block_size=16, quant_type=1))  # fmt: skip


def _moe(d: Draft) -> str:
    x = d.feed(6, 8)
    router = d.node("MatMul", x, d.weight(8, 4))
    return _ms(d, "MoE", x, router, d.weight(4, 16, 8), d.weight(4, 16), d.weight(4, 8, 16),
               d.weight(4, 8), k=2, activation_type="gelu")  # fmt: skip


def _qconv(d: Draft) -> str:
    y = _ms(d, "QLinearConv", *_q(d, 1, 6, 6, 3), *_qw(d, 4, 3, 3, 3), _scale(d), _zero(d),
            channels_last=1)  # fmt: skip
    return _back(d, y)


def _qgemm(d: Draft) -> str:
    y = _ms(d, "QGemm", *_q(d, 5, 7), *_qw(d, 3, 7), "", _scale(d), _zero(d), transB=1)
    return _back(d, y)


def _qattention(d: Draft) -> str:
    x, scale, zero = _q(d, 2, 5, 8)
    weights, weights_scale, weights_zero = _qw(d, 8, 24)
    return _ms(d, "QAttention", x, weights, d.weight(24), scale, weights_scale, "", zero,
               weights_zero, num_heads=2)  # fmt: skip


def _qpair(kind: str) -> Recipe:
    return lambda d: _back(d, _ms(d, kind, *_q(d, 2, 6), *_q(d, 2, 6), _scale(d), _zero(d)))


def _qone(kind: str, *shape: int, **more: Any) -> Recipe:
    return lambda d: _back(d, _ms(d, kind, *_q(d, *shape), _scale(d), _zero(d), **more))


def _qconcat(d: Draft) -> str:
    return _back(
        d, _ms(d, "QLinearConcat", _scale(d), _zero(d), *_q(d, 2, 3), *_q(d, 2, 4), axis=1)
    )


def _qwhere(d: Draft) -> str:
    chosen = d.node("Greater", d.feed(2, 6), d.const(0.5))
    return _back(d, _ms(d, "QLinearWhere", chosen, *_q(d, 2, 6), *_q(d, 2, 6), _scale(d), _zero(d)))


def _dynamic_lstm(d: Draft) -> str:
    weights = d.const(d.rng.integers(0, 9, (1, 5, 24)), U8)
    states = d.const(d.rng.integers(0, 9, (1, 6, 24)), U8)
    one, zero = d.const([0.02]), d.const([3], U8)
    return _ms(d, "DynamicQuantizeLSTM", d.feed(7, 2, 5), weights, states, "", "", "", "", "", one,
               zero, one, zero, hidden_size=6)  # fmt: skip


def _dynamic_matmul(d: Draft) -> str:
    weights, scale, zero = _qw(d, 8, 6, dtype=U8)
    return d.node("Relu", _ms(d, "DynamicQuantizeMatMul", d.feed(3, 8), weights, scale, zero))


def _integer_to_float(d: Draft) -> str:
    x, scale, zero = _q(d, 3, 8)
    weights, weights_scale, weights_zero = _qw(d, 8, 6, dtype=U8)
    return _ms(d, "MatMulIntegerToFloat", x, weights, scale, weights_scale, zero, weights_zero)


def _embed(d: Draft) -> str:
    ids = d.feed(2, 5, dtype=I32)
    tables = d.weight(20, 8), d.weight(9, 8), d.weight(2, 8)
    return _ms(d, "EmbedLayerNormalization", ids, d.feed(2, 5, dtype=I32), *tables, d.weight(8),
               d.weight(8), writes=2)  # fmt: skip


def _gather_packed(d: Draft) -> str:
    data = d.const(d.rng.integers(0, 9, (7, 16)), U8)
    return _ms(d, "GatherBlockQuantized", data, d.feed(3, dtype=I64), d.weight(7, 1),
               block_size=16, bits=8)  # fmt: skip


def _tree(kind: str, **more: Any) -> Recipe:
    def write(d: Draft) -> str:
        return _ml(
            d, kind, d.feed(3, 4), nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2],
            nodes_featureids=[1, 0, 0], nodes_values=[0.5, 0.0, 0.0],
            nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0],
            nodes_falsenodeids=[2, 0, 0], **more,
        )  # fmt: skip

    return write


def _linear_classifier(d: Draft) -> str:
    return _ml(d, "LinearClassifier", d.feed(3, 4), coefficients=[0.1] * 8, intercepts=[0.0] * 2,
               classlabels_ints=[0, 1], writes=2)  # fmt: skip


def _zip_map(d: Draft) -> str:
    _linear_classifier(d)
    return _ml(d, "ZipMap", d.nodes[-1].output[1], classlabels_int64s=[0, 1])


RECIPES: Mapping[str, Recipe] = {
    "gelu": _unary("Gelu", 2, 6),
    "fast_gelu": _unary("FastGelu", 2, 6),
    "quick_gelu": _unary("QuickGelu", 2, 6, alpha=1.5),
    "inverse": _unary("Inverse", 2, 3, 3),
    "trilu": _unary("Trilu", 4, 4),
    "unfold": _unary("UnfoldTensor", 3, 9, size=3, step=2),
    "expand_dims": lambda d: d.node("Exp", _ms(d, "ExpandDims", d.feed(2, 6), d.const(1, I32))),
    "bias_gelu": lambda d: d.node("Exp", _ms(d, "BiasGelu", d.feed(2, 6), d.weight(6))),
    "fast_gelu_bias": lambda d: d.node("Exp", _ms(d, "FastGelu", d.feed(2, 6), d.weight(6))),
    "skip_layer_norm": _normed("SkipLayerNormalization", 3),
    "skip_simplified_norm": _normed("SkipSimplifiedLayerNormalization", 2),
    "embed_layer_norm": _embed,
    "attention": _attention,
    "multi_head_attention": _mha,
    "group_query_attention": _gqa,
    "rotary": _rotary,
    "fused_conv": lambda d: _ms(d, "FusedConv", d.feed(1, 3, 6, 6), d.weight(4, 3, 3, 3),
                                d.weight(4), activation="Relu", pads=[1] * 4),
    "fused_gemm": lambda d: _ms(d, "FusedGemm", d.feed(5, 7), d.weight(7, 3), d.weight(3),
                                activation="Relu"),
    "fused_matmul": lambda d: _ms(d, "FusedMatMul", d.feed(2, 7, 5), d.feed(2, 7, 3), transA=1),
    "fused_matmul_b": lambda d: _ms(d, "FusedMatMul", d.weight(6, 7), d.feed(2, 5, 7), transB=1),
    "transpose_matmul": lambda d: _ms(d, "TransposeMatMul", d.feed(7, 5), d.weight(7, 3), transA=1),
    "transposed_conv": lambda d: _ms(d, "ConvTransposeWithDynamicPads", d.feed(1, 4, 5, 5),
                                     d.weight(4, 3, 3, 3), d.ints(1, 1, 1, 1), strides=[2, 2]),
    "causal_conv": lambda d: _ms(d, "CausalConvWithState", d.feed(1, 4, 9), d.weight(4, 1, 3),
                                 writes=2),
    "nhwc_max_pool": lambda d: _back(d, _ms(d, "NhwcMaxPool", _q(d, 1, 6, 6, 4)[0],
                                            kernel_shape=[2, 2])),
    "crop_and_resize": lambda d: _ms(d, "CropAndResize", d.feed(1, 3, 8, 8),
                                     d.const([[0.0, 0.0, 1.0, 1.0]]), d.const([0], I32),
                                     d.const([4, 4], I32)),
    "grid_sample": lambda d: _ms(d, "GridSample", d.feed(1, 3, 6, 6), d.feed(1, 4, 4, 2)),
    "pad": lambda d: d.node("Exp", _ms(d, "Pad", d.feed(2, 3), d.ints(0, 1, 0, 1))),
    "gather_nd": lambda d: _ms(d, "GatherND", d.feed(3, 4), d.const([[0], [2]], I64)),
    "range": lambda d: d.node("Add", d.feed(4), _ms(
        d, "Range", d.const(0.0), d.const(4.0), d.const(1.0))),
    "cdist": lambda d: _ms(d, "CDist", d.feed(5, 3), d.feed(4, 3), metric="sqeuclidean"),
    "matmul_4_bits": _nbits,
    "matmul_bnb4": _bnb4,
    "mixture_of_experts": _moe,
    "qlinear_conv": _qconv,
    "qgemm": _qgemm,
    "qattention": _qattention,
    "qlinear_add": _qpair("QLinearAdd"),
    "qlinear_mul": _qpair("QLinearMul"),
    "qlinear_sigmoid": _qone("QLinearSigmoid", 2, 6),
    "qlinear_leaky_relu": _qone("QLinearLeakyRelu", 2, 6, alpha=0.1),
    "qlinear_softmax": _qone("QLinearSoftmax", 2, 6, opset=13),
    "qlinear_average_pool": _qone("QLinearAveragePool", 1, 4, 6, 6, kernel_shape=[2, 2]),
    "qlinear_global_pool": _qone("QLinearGlobalAveragePool", 1, 4, 6, 6),
    "qlinear_concat": _qconcat,
    "qlinear_where": _qwhere,
    "dynamic_lstm": _dynamic_lstm,
    "dynamic_matmul": _dynamic_matmul,
    "integer_to_float": _integer_to_float,
    "integer_16": lambda d: _ms(d, "MatMulInteger16", d.feed(3, 8, dtype=np.int16),
                                d.feed(8, 2, dtype=np.int16)),
    "quantize": lambda d: _ms(d, "DequantizeLinear", _ms(
        d, "QuantizeLinear", d.feed(2, 6), _scale(d), _zero(d)), _scale(d), _zero(d)),
    "gather_block": _gather_packed,
    "murmur_hash": lambda d: _ms(d, "MurmurHash3", d.feed(4, dtype=I32), positive=0),
    "ngram_repeat": lambda d: _ms(d, "NGramRepeatBlock", d.feed(2, 5, dtype=I64), d.feed(2, 9),
                                  ngram_size=2),
    "unique": lambda d: _ms(d, "Unique", d.feed(6), writes=3),
    "sample_op": lambda d: _ms(d, "SampleOp", d.feed(6)),
    "max_pool_mask": lambda d: _ms(d, "MaxpoolWithMask", d.feed(1, 3, 6, 6),
                                   d.feed(1, 3, 6, 6, dtype=I32), kernel_shape=[2, 2]),
    "gated_rms_norm": lambda d: _ms(d, "GatedRMSNorm", d.feed(2, 5, 8), d.weight(8),
                                    d.feed(2, 5, 8)),
    "scaler": lambda d: _ml(d, "Scaler", d.feed(3, 4), offset=[0.5] * 4, scale=[2.0] * 4),
    "normalizer": lambda d: _ml(d, "Normalizer", d.feed(3, 4), norm="L2"),
    "imputer": lambda d: _ml(d, "Imputer", d.feed(3, 4), imputed_value_floats=[0.0] * 4,
                             replaced_value_float=1.0),
    "binarizer": lambda d: _ml(d, "Binarizer", d.feed(3, 4), threshold=0.3),
    "one_hot": lambda d: _ml(d, "OneHotEncoder", d.feed(3, dtype=I64), cats_int64s=[0, 1, 2]),
    "label_encoder": lambda d: _ml(d, "LabelEncoder", d.feed(3, dtype=I64), keys_int64s=[0, 1],
                                   values_floats=[0.1, 0.2]),
    "category_mapper": lambda d: _ml(d, "CategoryMapper", d.feed(3, dtype=I64),
                                     cats_int64s=[0, 1], cats_strings=["a", "b"]),
    "feature_vectorizer": lambda d: _ml(d, "FeatureVectorizer", d.feed(3, 2), d.feed(3, 4),
                                        inputdimensions=[2, 4]),
    "extractor": lambda d: _ml(d, "ArrayFeatureExtractor", d.feed(3, 4), d.ints(0, 2)),
    "linear_regressor": lambda d: _ml(d, "LinearRegressor", d.feed(3, 4), coefficients=[0.1] * 8,
                                      intercepts=[0.0] * 2, targets=2),
    "linear_classifier": _linear_classifier,
    "zip_map": _zip_map,
    "svm_regressor": lambda d: _ml(d, "SVMRegressor", d.feed(3, 4), coefficients=[0.1, 0.2],
                                   kernel_type="RBF", kernel_params=[0.1, 0.0, 3.0],
                                   n_supports=2, rho=[0.1], support_vectors=[0.1] * 8),
    "svm_classifier": lambda d: _ml(
        d, "SVMClassifier", d.feed(3, 4), coefficients=[0.1, 0.2], kernel_type="LINEAR",
        classlabels_ints=[0, 1], vectors_per_class=[1, 1], rho=[0.1], support_vectors=[0.1] * 8,
        prob_a=[0.5], prob_b=[0.1], writes=2),
    "tree_regressor": _tree("TreeEnsembleRegressor", n_targets=1, target_ids=[0, 0],
                            target_nodeids=[1, 2], target_treeids=[0, 0],
                            target_weights=[1.0, 2.0]),
    "tree_classifier": _tree("TreeEnsembleClassifier", class_ids=[0, 1], class_nodeids=[1, 2],
                             class_treeids=[0, 0], class_weights=[1.0, 1.0],
                             classlabels_int64s=[0, 1], writes=2),
}  # fmt: skip


def names() -> list[str]:
    """Every recipe, in two operator sets."""
    return [f"{name}@{opset}" for name in RECIPES for opset in (13, 21)]


def make(name: str) -> Case:
    """One of ``names``."""
    recipe, _, opset = name.partition("@")
    draft = Draft(int(opset))
    return draft.case(name, RECIPES[recipe](draft))
