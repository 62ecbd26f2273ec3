"""Which instructions belong together, on a program written by hand."""

from __future__ import annotations

import re

import pytest

from costmodel.hlo_model.module import parse
from costmodel.runners.tpu_aot.cycles import total_cycles, without_estimate, working
from costmodel.runners.tpu_aot.groups import group

CYCLES = 'backend_config={{"window_config":{{"estimated_cycles":"{0}"}}}}'
BODY = """%pooled (p: bf16[8,4]) -> bf16[8,4] {{
  %p = bf16[8,4]{{1,0}} parameter(0)
  %relu = bf16[8,4]{{1,0}} maximum(%p, %p), metadata={{op_name="jit(f)/L1:relu/max"}}
  ROOT %sum = bf16[8,4]{{1,0}} add(%relu, %relu), metadata={{op_name="jit(f)/L2:pool/reduce"}}
}}

ENTRY %main (x: bf16[8,4], w: bf16[4]) -> bf16[8,4] {{
  %x = bf16[8,4]{{1,0}} parameter(0)
  %w = bf16[4]{{0}} parameter(1)
  %moved = bf16[8,4]{{0,1}} copy(%x), metadata={{op_name="x"}}, {copy}
  %start = (bf16[4]{{0}}, bf16[4]{{0}}, u32[]) copy-start(%w)
  %done = bf16[4]{{0}} copy-done(%start)
  %conv = bf16[8,4]{{1,0}} convolution(%moved, %done), metadata={{op_name="jit(f)/L0:conv/c"}}, {conv}
  %pool = bf16[8,4]{{1,0}} fusion(%conv), kind=kLoop, calls=%pooled, metadata={{op_name="jit(f)/L1:relu/max"}}, {pool}
  %mean = bf16[8,4]{{1,0}} multiply(%pool, %pool), metadata={{op_name="jit(f)/L2:pool/div"}}, {mean}
  %joined = bf16[8,8]{{1,0}} {opcode}(%conv, %mean), metadata={{op_name="jit(f)/L3:join/c"}}
  ROOT %last = bf16[8,8]{{1,0}} negate(%joined), metadata={{op_name="jit(f)/L4:neg/neg"}}, {last}
}}
"""  # noqa: E501


def program(opcode: str = "concatenate") -> str:
    numbers = {"copy": 10, "conv": 100, "pool": 20, "mean": 3, "last": 5}
    filled = {name: CYCLES.format(value) for name, value in numbers.items()}
    return "HloModule m\n\n%" + BODY.format(opcode=opcode, **filled).lstrip("%")


def layer_of(op_name: str) -> str:
    found = re.search(r"/L\d+:(\w+)/", op_name)
    return found[1] if found else ""


def test_what_goes_on_with_a_layer_is_one_group() -> None:
    module = parse(program())
    groups = group(module, layer_of)
    assert [sorted(some.layers) for some in groups] == [["conv"], ["pool", "relu"], ["neg"]]
    # The copy goes with the convolution, and what has no estimate with its reader.
    assert [[item.name for item in some.items] for some in groups] == [
        ["moved", "conv"], ["pool", "mean"], ["joined", "last"],
    ]  # fmt: skip
    assert [some.cycles for some in groups] == [110, 23, 5]
    assert groups[1].ends == {"pool"}


def test_cycles_add_up_over_what_works() -> None:
    module = parse(program())
    assert total_cycles(module) == 138
    assert [item.opcode for item in working(module)] == [
        "copy", "convolution", "fusion", "multiply", "concatenate", "negate",
    ]  # fmt: skip
    assert without_estimate(module) == ()


@pytest.mark.parametrize("opcode", ["custom-call", "sort", "while"])
def test_work_that_nobody_estimates_is_told(opcode: str) -> None:
    assert without_estimate(parse(program(opcode))) == (opcode,)
