"""The words for what kernels do: one vocabulary from readers to counts, prices and reports.

A kind is the field's plain word, mostly an ONNX operator's name in small letters. Every kind that a
reader or a runner can write stands here once, by how its work is counted: multiply-adds stand in
``products``. Kinds whose work cannot be counted stand in ``UNCOUNTED`` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Convolution kinds; everything that has a kernel window, a stride and channel groups.
CONV_KINDS = frozenset({"conv", "conv_transpose"})
#: Matrix products.
MATMUL_KINDS = frozenset({"gemm", "matmul"})
#: Window reductions without weights.
POOL_KINDS = frozenset({"max_pool", "average_pool", "global_average_pool", "global_max_pool"})

#: Kinds that move or rename elements and calculate nothing: their FLOPs are truly zero.
MOVES = _words(
    """
    bit_cast bitcast cast cast_like center_crop_pad compress concat concat_from_sequence constant
    constant_of_shape copy depth_to_space dropout expand expand_dims eye_like flatten gather
    gather_elements gather_nd gather_packed identity max_unpool memcpy_from_host memcpy_to_host
    one_hot optional optional_get_element optional_has_element pad qlinear_concat range
    remove_padding reorder reorder_input reorder_output reshape restore_padding reverse_sequence
    scatter scatter_elements scatter_nd sequence_at sequence_construct sequence_empty sequence_erase
    sequence_insert sequence_length shape shuffle_channels size slice space_to_depth split
    split_to_sequence squeeze tensor_scatter tile torch_embedding transpose trilu unfold_tensor
    unsqueeze
    """
)

#: Element by element: FLOPs per element written are the operands less one, at least one.
ELEMENTWISE = _words(
    """
    abs acos acosh add and asin asinh atan atanh bernoulli bias bias_add bias_gelu bias_split_gelu
    bit_shift bitwise_and bitwise_not bitwise_or bitwise_xor blackman_window ceil celu clip cos cosh
    div eltwise elu equal erf exp fast_gelu floor gelu greater greater_or_equal hamming_window
    hann_window hard_shrink hard_sigmoid hard_swish hard_tanh is_all_finite is_inf is_na_n
    leaky_relu less less_or_equal log log_sigmoid max mean min mish mod mul neg non_zero not or
    parametric_softplus pow prelu quick_gelu random_normal random_normal_like random_uniform
    random_uniform_like reciprocal relu relu6 round rsqrt scaled_tanh selu shrink sigmoid sign silu
    sin sinh soft_shrink softplus softsign sqrt square squared_difference squareplus sub sum swish
    tan tanh tanh_shrink thresholded_relu where xor
    """
)

#: One FLOP per element read.
REDUCTIONS = _words(
    """
    adaptive_average_pool adaptive_max_pool arg_max arg_min col2_im cum_prod cum_sum
    global_average_pool global_lp_pool global_max_pool hardmax qlinear_global_average_pool
    qlinear_reduce_mean reduce_l1 reduce_l2 reduce_log_sum reduce_log_sum_exp reduce_max reduce_mean
    reduce_min reduce_prod reduce_sum reduce_sum_integer reduce_sum_square top_k
    """
)

#: One FLOP per window element and element written.
WINDOWS = _words(
    "average_pool lp_pool max_pool maxpool_with_mask nhwc_max_pool qlinear_average_pool"
)

#: Normalisations that take the statistics of each row of features.
ROW_NORMS = _words(
    """
    layer_norm rms_norm simplified_layer_normalization skip_layer_normalization
    skip_simplified_layer_normalization
    """
)

#: FLOPs per element written of kinds with a fixed recipe: softmax takes a maximum, a difference, an
#: exponential, a sum and a quotient; a normalisation with its own statistics takes a mean (1), a
#: variance (3), scales (1) and applies gain and bias (2); with stored statistics only the last two.
#: Integer kernels count as the float kernel of the same work.
RECIPES: Mapping[str, int] = {
    "batch_norm": 2,
    "bias_softmax": 6,
    "complex_mul": 3,
    "complex_mul_conj": 3,
    "dequantize": 2,
    "dequantize_linear": 2,
    "dynamic_quantize_linear": 4,
    "embed_layer_normalization": 9,
    "gather_block_quantized": 2,
    "group_norm": 7,
    "instance_norm": 7,
    "layer_norm": 7,
    "log_softmax": 5,
    "lp_normalization": 3,
    "mean_variance_normalization": 5,
    "mul_integer": 1,
    "mvn": 5,
    "qlinear_add": 1,
    "qlinear_leaky_relu": 1,
    "qlinear_mul": 1,
    "qlinear_sigmoid": 1,
    "qlinear_softmax": 5,
    "qlinear_where": 1,
    "quantize": 2,
    "quantize_linear": 2,
    "rms_norm": 4,
    "rotary_embedding": 3,
    "simplified_layer_normalization": 4,
    "skip_group_norm": 8,
    "skip_layer_normalization": 8,
    "skip_simplified_layer_normalization": 5,
    "softmax": 5,
    "swi_glu": 3,
    "unit_norm": 3,
}

#: Kinds with a rule of their own in ``costs.counts``.
OWN_RULE = _words("dft grid_sample irfft lrn resize rfft roi_align stft")

_NO_RULE = "there is no rule that counts its work yet"
_DATA = "how much work it does depends on its data"
_CLASSICAL = "it is a classical model, whose work depends on what it has learned"
#: Kinds whose work is not counted, each with the reason.
UNCOUNTED: Mapping[str, str] = {
    **dict.fromkeys(
        _words("beam_search greedy_search if loop sampling scan sequence_map whisper_beam_search"),
        "it runs a graph inside, whose work depends on its data",
    ),
    **dict.fromkeys(
        _words(
            """
            dynamic_slice efficient_nms_trt max_roi_pool multilevel_crop_and_resize_trt multinomial
            ngram_repeat_block non_max_suppression pyramid_roialign_trt unique
            """
        ),
        _DATA,
    ),
    **dict.fromkeys(
        _words(
            """
            label_encoder regex_full_match string_concat string_normalizer string_split
            tf_idf_vectorizer tokenizer
            """
        ),
        "it works on text",
    ),
    **dict.fromkeys(
        _words(
            """
            array_feature_extractor binarizer cast_map category_mapper dict_vectorizer
            feature_vectorizer imputer linear_classifier linear_regressor normalizer
            one_hot_encoder scaler svmclassifier svmregressor tree_ensemble
            tree_ensemble_classifier tree_ensemble_regressor zip_map
            """
        ),
        _CLASSICAL,
    ),
    **dict.fromkeys(
        _words(
            """
            adagrad adam gradient momentum negative_log_likelihood_loss softmax_cross_entropy_loss
            """
        ),
        "it is a step of training",
    ),
    **dict.fromkeys(
        _words(
            """
            affine attn_lstm bias_dropout bifurcation_detector bitmask_bias_dropout bitmask_dropout
            branchwise_rmsnorm conv_state_replay crop crop_and_resize decoder_attention
            decoder_masked_multi_head_attention decoder_masked_self_attention dequantize_bfp
            dequantize_with_order det disentangled_attention_trt dynamic_sparse_attention
            dynamic_time_warping engram_gate epcontext flex_attention gated_add gated_delta_net
            gated_delta_net_state_replay gated_relative_position_bias gated_rmsnorm
            gemma_rotary_embedding given_tensor_fill gruunit hyper_connection_low_rank_mix
            hyper_connection_post_mix hyper_connection_pre_mix image_decoder image_scaler inverse
            linear_attention linear_attention_gate longformer_attention mamba2_verify
            mat_mul_block_quantized_fp4_weight mat_mul_block_quantized_fp8_weight
            mat_mul_nbits_mlp mat_mul_nbits_qkv mat_mul_nbits_qlo_ra mat_mul_packed
            mel_weight_matrix mlp mo_e mo_egroup_router mo_epacked mrotary_embedding murmur_hash3
            ngram_hash_mapping packed_attention packed_multi_head_attention
            packed_sparse_attention_indexer packed_sparse_attention_indexer_merge paged_attention
            qembed_layer_normalization qmo_e qordered_attention qordered_gelu
            qordered_layer_normalization qordered_longformer_attention qordered_mat_mul quantize_bfp
            quantize_with_order relative_position_bias rmsnorm_rotary router_gate_up_proj sample_op
            scale scaled_si_lu snpe sparse_attention sparse_attention_indexer sparse_paged_attention
            sparse_to_dense_mat_mul speculative_prefix_commit varlen_causal_conv_with_state
            varlen_ngram_hash_mapping word_conv_embedding
            """
        ),
        _NO_RULE,
    ),
}

#: Kinds that give memory another name: runtimes mostly carry them out without touching it.
RELABELS = _words("bitcast expand_dims flatten identity reshape squeeze unsqueeze")

#: Kinds of operators whose name in small letters would not be the field's word.
NAMES: Mapping[str, str] = {
    "BatchNormalization": "batch_norm",
    "FusedConv": "conv",
    "FusedGemm": "gemm",
    "FusedMatMul": "matmul",
    "GroupNormalization": "group_norm",
    "InstanceNormalization": "instance_norm",
    "LRN": "lrn",
    "LayerNormalization": "layer_norm",
    "MatMul": "matmul",
    "PRelu": "prelu",
    "RMSNormalization": "rms_norm",
    "Upsample": "resize",
}
#: Words that earlier versions wrote into tables, and what they are called now.
RENAMED: Mapping[str, str] = {
    "ceiling": "ceil",
    "group_normalization": "group_norm",
    "negative": "neg",
    "power": "pow",
    "rmsnormalization": "rms_norm",
    "soft_sign": "softsign",
}
#: Operators whose name cannot be made from their kind.
_OP_TYPES: Mapping[str, str] = {
    **{kind: name for name, kind in NAMES.items() if not name.startswith(("Fused", "Upsample"))},
    "dft": "DFT",
    "gather_nd": "GatherND",
    "gru": "GRU",
    "lstm": "LSTM",
    "mat_mul_integer": "MatMulInteger",
    "qgemm": "QGemm",
    "qlinear_conv": "QLinearConv",
    "qlinear_mat_mul": "QLinearMatMul",
    "rnn": "RNN",
    "scatter_nd": "ScatterND",
    "stft": "STFT",
    "swi_glu": "SwiGLU",
}


def kind_of(op_type: str) -> str:
    """Plain name of an ONNX operator.

    >>> kind_of("Conv"), kind_of("GlobalAveragePool"), kind_of("LRN")
    ('conv', 'global_average_pool', 'lrn')
    """
    return NAMES.get(op_type) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op_type).lower()


def op_type_of(kind: str) -> str:
    """ONNX name of a kind.

    >>> op_type_of("global_average_pool"), op_type_of("lrn")
    ('GlobalAveragePool', 'LRN')
    """
    return _OP_TYPES.get(kind) or "".join(word.capitalize() for word in kind.split("_"))
