"""Calls of cuDNN and cuBLAS are written as the instructions that XLA made them from."""

from __future__ import annotations

import pytest

from costmodel.errors import InvalidInputError
from costmodel.hlo_model.compiled import recipe_of
from costmodel.hlo_model.module import parse
from costmodel.hlo_model.recipe import read_recipe

HEAD = "HloModule m, is_scheduled=true\n\nENTRY %main (a: f32[1]) -> f32[1] {\n"
CONVOLUTION = """\
  %x = f32[1,9,9,4]{3,2,1,0} parameter(0)
  %w = f32[8,3,3,4]{3,2,1,0} parameter(1)
  %b = f32[8]{0} parameter(2)
  %s = f32[1,9,9,8]{3,2,1,0} parameter(3)
  %call = (f32[1,9,9,8]{3,2,1,0}, u8[0]{0}) custom-call(OPERANDS), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, \
custom_call_target="TARGET", metadata={op_name="jit(f)/conv"}, \
backend_config={"operation_queue_id":"0","cudnn_conv_backend_config":{"activation_mode":"MODE",\
"conv_result_scale":SCALE,"side_input_scale":1,"leakyrelu_alpha":0}}
  ROOT %r = f32[1,9,9,8]{3,2,1,0} get-tuple-element(%call), index=0
}
"""
PRODUCT = """\
  %x = f32[8,16]{1,0} parameter(0)
  %w = f32[16,32]{1,0} parameter(1)
  %b = f32[32]{0} parameter(2)
  %call = (f32[8,32]{1,0}, s8[33554432]{0}) custom-call(OPERANDS), \
custom_call_target="TARGET", \
backend_config={"gemm_backend_config":{"alpha_real":1,"alpha_imag":0,"beta":0,\
\
"dot_dimension_numbers":{\
"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"],\
"lhs_batch_dimensions":[],"rhs_batch_dimensions":[]},"epilogue":"EPILOGUE"}}
  ROOT %r = f32[8,32]{1,0} get-tuple-element(%call), index=0
}
"""


Names = tuple[str, ...]


def recipe(text: str, **words: str) -> tuple[Names, Names, Names]:
    """Kinds of the nodes, what the inputs are, and which layers it came from."""
    for word, value in words.items():
        text = text.replace(word, value)
    module = parse(HEAD + text)
    letters = dict.fromkeys(("w", "b"), "w")
    found, sources, origins = recipe_of(module, module.entry.instructions["call"], letters)
    assert read_recipe(str(found)) == found
    assert len(found.roots) == 1 or "$kernel" in str(found), "a workspace is no result"
    return tuple(node.opcode for node in found.nodes), sources, origins


def convolution(
    target: str, operands: str, mode: str = "kNone", scale: str = "1"
) -> tuple[Names, Names, Names]:
    return recipe(CONVOLUTION, TARGET=target, OPERANDS=operands, MODE=mode, SCALE=scale)


def test_a_plain_convolution() -> None:
    opcodes, sources, origins = convolution("__cudnn$convForward", "%x, %w")
    assert opcodes == ("d", "w", "convolution")
    assert sources == ("x", "w")
    assert origins == ("jit(f)/conv",)


def test_bias_side_input_and_activation_follow_it() -> None:
    target = "__cudnn$convBiasActivationForward"
    opcodes, sources, _ = convolution(target, "%x, %w, %b, %s", "kRelu")
    assert opcodes.count("add") == 2
    assert opcodes[-1] == "maximum"
    assert set(sources) == {"x", "w", "b", "s"}
    assert convolution(target, "%x, %w, %b")[0][-1] == "add"


@pytest.mark.parametrize("target", ["__cublas$gemm", "__cublas$lt$matmul"])
def test_products(target: str) -> None:
    plain = recipe(PRODUCT, TARGET=target, OPERANDS="%x, %w", EPILOGUE="DEFAULT")
    assert plain[0] == ("d", "w", "dot")
    whole = recipe(PRODUCT, TARGET=target, OPERANDS="%x, %w, %b", EPILOGUE="BIAS_RELU")
    assert whole[0][-1] == "maximum"
    assert set(whole[1]) == {"x", "w", "b"}


def test_what_has_no_form_is_refused_by_name() -> None:
    target = "__cudnn$convBiasActivationForward"
    with pytest.raises(InvalidInputError, match="the activation kElu"):
        convolution(target, "%x, %w, %b", "kElu")
    with pytest.raises(InvalidInputError, match=r"a factor of 0\.5"):
        convolution(target, "%x, %w, %b", "kNone", "0.5")
    with pytest.raises(InvalidInputError, match="the epilogue GELU"):
        recipe(PRODUCT, TARGET="__cublas$gemm", OPERANDS="%x, %w", EPILOGUE="GELU")


def test_other_calls_stay_calls() -> None:
    text = CONVOLUTION.replace('"operation_queue_id":"0",', "")
    opcodes, _, _ = recipe(text, TARGET="my$kernel", OPERANDS="%x, %w", MODE="", SCALE="1")
    assert "custom-call" in opcodes


def test_reducers_of_narrow_types_are_told_by_what_they_join() -> None:
    text = """\
HloModule m

%join (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  %wide = f32[] convert(%a)
  %wider = f32[] convert(%b)
  %most = f32[] maximum(%wide, %wider)
  ROOT %narrow = bf16[] convert(%most)
}

ENTRY %main (x: bf16[4,8]) -> bf16[4] {
  %x = bf16[4,8]{1,0} parameter(0)
  %zero = bf16[] constant(0)
  ROOT %r = bf16[4]{0} reduce(%x, %zero), dimensions={1}, to_apply=%join
}
"""
    module = parse(text)
    found, _, _ = recipe_of(module, module.entry.instructions["r"], {})
    assert "with=maximum" in str(found)
