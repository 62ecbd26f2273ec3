"""Calls of vendor libraries, written as the plain instructions that XLA made them from.

On a GPU, XLA gives convolutions to cuDNN and many products to cuBLAS, bias and activation included:
the call's text says what is computed. Written as instructions again, such a kernel can be rebuilt
alone, and XLA makes the same call of it. Names and settings as in XLA's
``xla/service/gpu/cublas_cudnn.h`` and ``backend_configs.proto``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from costmodel.errors import InvalidInputError
from costmodel.hlo_model.draft import RecipeDraft
from costmodel.hlo_model.module import Array, Instruction
from costmodel.hlo_model.recipe import Node

_CONVOLUTION = "__cudnn$convForward"
_CONVOLUTION_BIAS = "__cudnn$convBiasActivationForward"
_PRODUCTS = frozenset({"__cublas$gemm", "__cublas$lt$matmul"})
#: What follows a product or convolution inside the call, by the library's name.
_ACTIVATIONS = {"": (), "DEFAULT": (), "kNone": (), "RELU": ("relu",), "kRelu": ("relu",),
                "BIAS": ("bias",), "BIAS_RELU": ("bias", "relu")}  # fmt: skip


def is_known(item: Instruction) -> bool:
    """Whether ``expand`` can write it."""
    return item.target in {_CONVOLUTION, _CONVOLUTION_BIAS, *_PRODUCTS}


def expand(item: Instruction, args: Sequence[int], draft: RecipeDraft) -> int:
    """Write a call as instructions.

    Args:
        item: for which ``is_known`` holds.
        args: numbers of its operands in the draft.
        draft: to add to.

    Returns:
        The number of its result; a library's workspace is none.

    Raises:
        InvalidInputError: if the call does something that has no form here.
    """
    writer = _Writer(item=item, draft=draft)
    if item.target in _PRODUCTS:
        return writer.product(args)
    return writer.convolution(args, biased=item.target == _CONVOLUTION_BIAS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    item: Instruction
    draft: RecipeDraft

    def convolution(self, args: Sequence[int], *, biased: bool) -> int:
        config = self._config("cudnn_conv_backend_config")
        result = self.item.arrays[0]
        settings = self.item.settings(("window", "dim_labels", "feature_group_count"))
        number = self._add("convolution", args[:2], result, settings)
        self._refuse_factor(config.get("conv_result_scale", 1))
        if not biased:
            return number
        labels = self.item.attributes["dim_labels"].rpartition("->")[2]
        number = self._biased(number, args[2], result, labels.index("f"))
        if len(args) > 3:
            self._refuse_factor(config.get("side_input_scale", 1))
            number = self._add("add", (number, args[3]), result)
        return self._activated(number, str(config.get("activation_mode", "")), result)

    def product(self, args: Sequence[int]) -> int:
        config = self._config("gemm_backend_config")
        result = self.item.arrays[0]
        numbers = config.get("dot_dimension_numbers", {})
        settings = ";".join(
            f"{side}_{axes}_dims={{{','.join(map(str, found))}}}"
            for side in ("lhs", "rhs")
            for axes in ("batch", "contracting")
            if (found := numbers.get(f"{side}_{axes}_dimensions"))
        )
        self._refuse_factor(config.get("alpha_real", 1))
        number = self._add("dot", args[:2], result, settings)
        rest = list(args[2:])
        if float(config.get("beta", 0)):
            self._refuse_factor(config["beta"])
            number = self._add("add", (number, rest.pop(0)), result)
        name = str(config.get("epilogue", ""))
        if name not in _ACTIVATIONS:
            self._refuse("the epilogue", name)
        for step in _ACTIVATIONS[name]:
            if step == "bias":
                number = self._biased(number, rest.pop(0), result, len(result.dims) - 1)
            else:
                number = self._activated(number, "RELU", result)
        return number

    def _biased(self, number: int, bias: int, result: Array, axis: int) -> int:
        wide = self._add("broadcast", (bias,), result, f"dimensions={{{axis}}}")
        return self._add("add", (number, wide), result)

    def _activated(self, number: int, name: str, result: Array) -> int:
        if name not in _ACTIVATIONS:
            self._refuse("the activation", name)
        if not _ACTIVATIONS[name]:
            return number
        scalar = Array(dtype=result.dtype, dims=(), order=())
        zero = self._add("broadcast", (self.draft.constant("0", scalar),), result, "dimensions={}")
        return self._add("maximum", (number, zero), result)

    def _add(self, opcode: str, args: Sequence[int], array: Array, settings: str = "") -> int:
        return self.draft.add(Node(opcode=opcode, args=tuple(args), settings=settings, array=array))

    def _config(self, name: str) -> Mapping[str, Any]:
        text = self.item.attributes.get("backend_config", "")
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            self._refuse("a configuration that is no JSON:", text[:80])
        inner = found.get(name, found) if isinstance(found, dict) else None
        if not isinstance(inner, dict):
            self._refuse("a configuration of another form:", text[:80])
        return inner

    def _refuse_factor(self, value: object) -> None:
        if float(str(value)) != 1.0:
            self._refuse("a factor of", value)

    def _refuse(self, what: str, value: object) -> NoReturn:
        message = (
            f"The library call {self.item.target} ({self.item.name}) has {what} {value}, which "
            "has no form of its own here."
        )
        raise InvalidInputError(message)
