"""Text that XLA did not print is refused, wherever in it that shows."""

from __future__ import annotations

import pytest

from costmodel.errors import InvalidInputError
from costmodel.hlo_model.compiled import recipe_of
from costmodel.hlo_model.describe import implementation_of, op_of
from costmodel.hlo_model.module import parse

HEAD = "ENTRY %main (x: f32[8]) -> f32[8] {\n  %x = f32[8]{0} parameter(0)\n"


def described(text: str) -> None:
    module = parse(text)
    for item in module.executed():
        recipe, _, _ = recipe_of(module, item, {})
        op_of(recipe, implementation_of(item), [], "nhwc")


@pytest.mark.parametrize(
    "line",
    [
        "%y = f32[eight]{0} negate(%x)",
        "%y = f32[8]{7} negate(%missing)",
        "%y = f32[8]{3} negate(%x, )",
        "%y = f32[8]{0} fusion(%x), kind=kLoop, calls=%nowhere",
        "%y = f32[8]{0} fusion(%x), kind=kLoop, calls=%main",
        "%y = f32[8]{0} fusion(%x), kind=kLoop",
        "%y = f32[8]{0} convolution(%x), dim_labels=b01f",
        "%y = f32[8]{0} convolution(%x, %x), dim_labels=b_o->f, window={}",
        '%y = f32[8]{0} custom-call(%x), custom_call_target="__cudnn$convForward"',
        "%y = f32[8]{0} reduce(%x)",
    ],
)
def test_what_xla_did_not_print_is_refused(line: str) -> None:
    with pytest.raises(InvalidInputError):
        described(f"{HEAD}  ROOT {line}\n}}\n")


def test_computations_that_stand_for_too_many_instructions_are_refused() -> None:
    levels = [
        f"%f{i} (p: f32[8]) -> f32[8] {{\n  %p = f32[8]{{0}} parameter(0)\n"
        f"  %a = f32[8]{{0}} call(%p), to_apply=%f{i + 1}\n"
        f"  ROOT %b = f32[8]{{0}} call(%a), to_apply=%f{i + 1}\n}}\n"
        for i in range(40)
    ]
    last = (
        "%f40 (p: f32[8]) -> f32[8] {\n  %p = f32[8]{0} parameter(0)\n"
        "  ROOT %n = f32[8]{0} negate(%p)\n}\n"
    )
    text = "".join([*levels, last, HEAD, "  ROOT %y = f32[8]{0} call(%x), to_apply=%f0\n}\n"])
    with pytest.raises(InvalidInputError, match="stands for more than"):
        described(text)
