"""Families of kernels of transformers, token mixers, recurrent readers and last steps."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from costmodel.sampling.convolutions import Maker
from costmodel.sampling.draw import Draw, log_uniform, pick
from costmodel.sampling.probe import Probe

#: Rows of features, from a handful of queries to the places of a large map.
_TOKENS = (4, 4096)
#: Features of one token, from the first stage of a small mixer to a large transformer's.
_WIDTHS = (24, 1024)
#: Elements of an activation of tokens, and multiply-adds of a product: beyond, a kernel eats the
#: profile's budget.
_ELEMENTS, _MACS = 1.5e6, 4e8
#: Features of one head of attention.
_HEADS = (16, 24, 32, 48, 64)


def _tokens(draw: Draw, name: str, kind: str, variant: str = "", **fields: object) -> Probe:
    """A probe on ``(batch, tokens, features)``; ``size`` holds the number of tokens."""
    width = draw.channels(log_uniform(draw.ratio, *_WIDTHS))
    most = min(_TOKENS[1], _ELEMENTS / width)
    count = max(1, round(log_uniform(draw.place, _TOKENS[0], max(most, 8.0))))
    values: dict[str, object] = {
        "batch": draw.images() if count < 512 else 1,
        "in_channels": width,
        "out_channels": width,
        "size": (count,),
        "kernel": (1,),
        "variant": variant,
        **fields,
    }
    return Probe(name=name, kind=kind, **values)  # type: ignore[arg-type]


def _alike(kind: str, *variants: str) -> Maker:
    """A family whose variants take turns."""

    def make(draw: Draw, name: str) -> Probe:
        return _tokens(draw, name, kind, pick(draw.window, variants or ("",)))

    return make


def _product(draw: Draw, name: str) -> Probe:
    """Dense layers over tokens: kept, widened two to four times, or narrowed again."""
    ratio = pick(draw.window, (1.0, 1.0, 2.0, 3.0, 4.0, 0.25, 0.5))
    probe = _tokens(draw, name, "tokens_product")
    out = draw.channels_out(max(8.0, ratio * probe.in_channels))
    most = _MACS / (probe.in_channels * out * probe.batch)
    return _tokens(
        draw,
        name,
        "tokens_product",
        out_channels=out,
        size=(max(2, min(probe.size[0], int(most))),),
    )


def _attention(kind: str, *variants: str) -> Maker:
    """Products of queries and keys, of shares and values, and what stands between: by head."""

    def make(draw: Draw, name: str) -> Probe:
        heads = pick(draw.stride, (1, 2, 3, 4, 6, 8, 12))
        count = round(log_uniform(draw.place, 16, 784))
        windows = 1
        if draw.snap < 0.3:  # attention in windows, as Liu et al. 2021 (Swin)
            count, windows = pick(draw.amount, (49, 64)), pick(draw.ratio, (1, 4, 16, 64))
        while heads * windows * count * count > _ELEMENTS and heads * windows > 1:
            heads, windows = max(1, heads // 2), max(1, windows // 4)
        return Probe(
            name=name,
            kind=kind,
            batch=windows,
            groups=heads,
            in_channels=pick(draw.aspect, _HEADS),
            size=(count,),
            kernel=(1,),
            variant=pick(draw.window, variants or ("",)),
        )

    return make


def _lookup(draw: Draw, name: str) -> Probe:
    """Rows of an embedding by number, or one token of many."""
    variant = "one" if draw.window < 0.4 else "rows"
    width = draw.channels(log_uniform(draw.ratio, *_WIDTHS))
    rows = round(log_uniform(draw.amount, 100, 2e6 / width))
    return _tokens(draw, name, "gather", variant, in_channels=width, out_channels=rows)


def _recurrent(kind: str) -> Maker:
    def make(draw: Draw, name: str) -> Probe:
        hidden = draw.channels(log_uniform(draw.ratio, 16, 384))
        into = draw.channels_out(log_uniform(draw.amount, 16, 384))
        steps = round(log_uniform(draw.place, 4, 128))
        both = "both" if draw.flags < 0.3 else ""
        return Probe(
            name=name, kind=kind, in_channels=into, out_channels=hidden, size=(steps,), kernel=(1,),
            variant=both,
        )  # fmt: skip

    return make


#: Share of each family beside those of ``kernels.FAMILIES``.
FAMILIES: Mapping[str, tuple[float, Maker]] = {
    "tokens_product": (9, _product),
    "attention_product": (4, _attention("attention_product", "scores", "mixed")),
    "einsum": (2, _attention("einsum", "scores", "mixed")),
    "attention_softmax": (2.5, _attention("attention_softmax")),
    "tokens_norm": (4, _alike("tokens_norm", "", "", "skip", "root")),
    "tokens_activation": (5, _alike("tokens_activation", "gelu", "gelu", "swish", "quick")),
    "tokens_transpose": (
        5, _alike("tokens_transpose", "swap", "heads", "back", "windows", "grid", "ungrid"),
    ),
    "tokens_add": (2.5, _alike("tokens_add", "same", "bias")),
    "tokens_split": (2, _alike("tokens_split", "split", "slice", "concat", "pad")),
    "reduce": (
        7, _alike("reduce", "mean", "mean_tokens", "mean_channels", "sum", "max", "l2", "arg_max"),
    ),
    "erf": (2.5, _alike("erf")),
    "math": (
        6,
        _alike("math", "sqrt", "softplus", "mish", "pow", "neg", "abs", "log", "reciprocal",
               "floor", "max", "min"),
    ),
    "logic": (3, _alike("logic", "cast", "equal", "greater", "where", "not")),
    "copy": (3, _alike("copy", "expand", "expand_inner", "tile", "space_to_depth")),
    "gather": (3, _lookup),
    "top_k": (1, _alike("top_k")),
    "lstm": (1.5, _recurrent("lstm")),
    "gru": (1, _recurrent("gru")),
}  # fmt: skip


def is_realistic(probe: Probe) -> bool:
    """Whether a probe is small enough to be lowered and timed often."""
    steps = prod(probe.size)
    work = probe.batch * steps * probe.in_channels * max(1, probe.out_channels)
    return probe.kind not in {"lstm", "gru"} or 8 * work <= _MACS
