"""Amounts and features of runtimes whose cut is known: TensorFlow Lite's delegate, Vulkan."""

from __future__ import annotations

import numpy as np

from costmodel.costs.gpu.cuts import Cut, Rule
from costmodel.costs.gpu.sizes import SLICE, Floats, Sizes, ceil_div

#: Groups that a phone's GPU may run at once; which number is the device's, the law finds.
_AT_ONCE = (4, 8, 16, 32)


def phone_columns(
    sizes: Sizes, rule: Rule
) -> tuple[dict[str, Floats], dict[str, Floats], list[str]]:
    """Columns of Ops on a phone's GPU.

    Terms: ``depth`` loop rounds of one thread, ``padded`` multiply-adds of whole slices,
    ``blocked`` and ``grouped`` those of whole blocks and groups, ``loads`` loop rounds of all
    threads, ``area`` and ``slices`` those of all positions and of all slices, ``threads``,
    ``launched`` groups, ``waves_N`` and ``turns_N`` multiply-adds and loop rounds of one thread for
    every wave of N groups, the last one as full as any.

    Args:
        sizes: of the Ops.
        rule: how the runtime cuts kernels.

    Returns:
        Terms, features, and which memory the weights are in where that makes another kernel.
    """
    cut = rule(sizes)
    block, depth = cut.block, cut.depth
    amount = depth * block * SLICE**2
    waves = {n: ceil_div(cut.groups, n) for n in _AT_ONCE}
    terms = {
        "depth": depth,
        "padded": sizes.pixels * sizes.slices_out * depth * SLICE**2,
        "blocked": cut.threads * amount,
        "grouped": cut.groups * cut.size * amount,
        "loads": cut.threads * depth,
        "area": sizes.pixels * depth,
        "slices": sizes.slices_out * depth,
        "threads": cut.threads,
        "launched": cut.groups,
        **{f"waves_{n}": count * amount for n, count in waves.items()},
        **{f"turns_{n}": count * depth for n, count in waves.items()},
        **sizes.folded_terms(),
    }
    forms = np.where(cut.is_constant, "constant memory", "")
    return terms, _features(sizes, cut, waves), forms.tolist()


def _features(sizes: Sizes, cut: Cut, waves: dict[int, Floats]) -> dict[str, Floats]:
    launched = {
        "depth": cut.depth,
        "threads": cut.threads,
        "launched": cut.groups,
        "size": cut.size,
        "grouped": cut.groups * cut.size * cut.depth * cut.block,
        **{f"waves_{n}": count for n, count in waves.items()},
    }
    return {
        **sizes.log_columns(1.0, after=launched),
        "block_x": cut.block_x,
        "block_y": cut.block_y,
        "block_z": cut.block_z,
        "group_x": cut.shape[0],
        "group_y": cut.shape[1],
        "group_z": cut.shape[2],
        "slices_in % 2": sizes.slices_in % 2,
        "slices_in % 4": sizes.slices_in % 4,
        "slices_out % 4": sizes.slices_out % 4,
        **{f"fill_{n}": cut.groups / n / np.maximum(count, 1.0) for n, count in waves.items()},
        "cheap": sizes.cheap,
        "costly": sizes.costly,
        "reads": sizes.reads,
    }
