"""HLO text is read as it is, and equal work has one text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from costmodel.hlo_model.compiled import recipe_of
from costmodel.hlo_model.module import Array, Module, parse
from costmodel.hlo_model.recipe import Node, Recipe, read_recipe
from costmodel.hlo_model.windows import window_of

TEXT = """HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

FileNames
1 "a {strange} name.py"

%fused (param_0: f32[1,2,8], param_1: f32[8]) -> f32[1,2,8] {
  %param_0 = f32[1,2,8]{2,1,0} parameter(0)
  %param_1 = f32[8]{0} parameter(1)
  %b.1 = f32[1,2,8]{2,1,0} broadcast(%param_1), dimensions={2}, metadata={op_name="jit(f)/L0:a/b"}
  %add.1 = f32[1,2,8]{2,1,0} add(%b.1, %param_0), metadata={op_name="jit(f)/L0:a/add"}
  %constant.1 = f32[] constant(0)
  %b.2 = f32[1,2,8]{2,1,0} broadcast(%constant.1), dimensions={}
  ROOT %max.1 = f32[1,2,8]{2,1,0} maximum(%add.1, %b.2), metadata={op_name="jit(f)/L1:r \\"q,)\\""}
}

ENTRY %main (x: f32[1,2,8], w: f32[8]) -> (f32[1,2,8], f32[2,8]) {
  %x = f32[1,2,8]{2,1,0} parameter(0)
  %w = f32[8]{0} parameter(1)
  %fusion = f32[1,2,8]{2,1,0:T(8,128)S(1)} fusion(%x, /*index=1*/%w), kind=kLoop, calls=%fused
  %view = f32[2,8]{1,0} bitcast(%fusion)
  ROOT %out = (f32[1,2,8]{2,1,0}, f32[2,8]{1,0}) tuple(%fusion, %view)
}
"""


@pytest.fixture
def module() -> Module:
    return parse(TEXT)


def test_reads_computations_and_instructions(module: Module) -> None:
    assert set(module.computations) == {"fused", "main"}
    (fusion,) = module.executed()
    assert (fusion.opcode, fusion.operands) == ("fusion", ("x", "w"))
    assert fusion.called == ("fused",)
    assert fusion.arrays == (Array(dtype="f32", dims=(1, 2, 8), order=(0, 1, 2)),)
    root = module.entry.instructions[module.entry.root]
    assert (root.opcode, len(root.arrays)) == ("tuple", 2)
    inner = module.computations["fused"]
    assert inner.instructions[inner.root].op_name.startswith("jit(f)/L1:r")
    assert inner.instructions["constant.1"].literal == "0"


def test_a_fusion_becomes_a_short_text(module: Module) -> None:
    (fusion,) = module.executed()
    recipe, operands, origins = recipe_of(module, fusion, {"w": "w"})
    assert str(recipe) == (
        "w[8] d[1,2,8] | broadcast(0;dimensions={2})[1,2,8] add(2,1) constant(;0)[] "
        "broadcast(4;dimensions={})[1,2,8] maximum(3,5) | 6"
    )
    assert operands == ("w", "x")
    assert [origin.split("/")[1].split()[0] for origin in origins] == ["L0:a", "L0:a", "L1:r"]


def test_the_order_of_operands_and_names_changes_nothing(module: Module) -> None:
    swapped = TEXT.replace("add(%b.1, %param_0)", "add(%param_0, %b.1)").replace("param_0", "p.9")
    (fusion,), (other,) = module.executed(), parse(swapped).executed()
    assert recipe_of(module, fusion, {})[0] == recipe_of(parse(swapped), other, {})[0]


@pytest.mark.parametrize(
    "text", ["", "HloModule m\n", "ENTRY %e () -> f32[] {\n  %a = f32[] \n}\n"]
)
def test_what_is_no_module_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="HLO text"):
        parse(text)


def test_a_loop_has_no_recipe() -> None:
    text = "\n".join([
        "%b (p: f32[8]) -> f32[8] {", "  ROOT %p = f32[8]{0} parameter(0)", "}", "",
        "ENTRY %e (x: f32[8]) -> f32[8] {", "  %x = f32[8]{0} parameter(0)",
        "  ROOT %w = f32[8]{0} while(%x), condition=%c, body=%b", "}",
    ])  # fmt: skip
    module = parse(text)
    (loop,) = module.executed()
    with pytest.raises(InvalidInputError, match="while"):
        recipe_of(module, loop, {})


@pytest.mark.parametrize(
    "text",
    ["", "d[8]", "d[8] | add(0,1) | 1", "d[8] | add(0,0) | 7", "d[8] | add(0 | 1", "d[x] |  | 0"],
)
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no recipe"):
        read_recipe(text)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    dims = tuple(draw(st.lists(st.integers(1, 300), min_size=1, max_size=4)))
    order = tuple(draw(st.permutations(range(len(dims)))))
    dtype = draw(st.sampled_from(["f32", "bf16", "s32", "pred"]))
    array = Array(dtype=dtype, dims=dims, order=tuple(range(len(dims))))
    turned = Array(dtype=dtype, dims=dims, order=order)
    turned = array if turned.is_plain else turned
    nodes = [Node(opcode="d", args=(), settings="", array=array)]
    nodes.append(Node(opcode="w", args=(), settings="", array=turned))
    for _ in range(draw(st.integers(0, 6))):
        args = tuple(draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=3)))
        settings_text = draw(
            st.sampled_from(["", "dimensions={0,1}", "window={size=3x3_pad=1_1x0_1}"])
        )
        kind = draw(st.sampled_from(["add", "reduce-window", "convert"]))
        nodes.append(
            Node(
                opcode=kind,
                args=args,
                settings=settings_text,
                array=draw(st.sampled_from([array, turned])),
            )
        )
    return Recipe(nodes=tuple(nodes), roots=(len(nodes) - 1,))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(recipe=recipes())
def test_a_recipe_survives_its_text(recipe: Recipe) -> None:
    assert read_recipe(str(recipe)) == recipe


def test_a_window_is_read_whole() -> None:
    text = (
        "window={size=3x5_stride=2x1_pad=0_1x-1_2_lhs_dilate=2x2_rhs_dilate=1x3_rhs_reversal=1x0};x"
    )
    window = window_of(text, 2)
    assert (window.size, window.stride, window.pads) == ((3, 5), (2, 1), ((0, 1), (-1, 2)))
    assert (window.base_dilation, window.dilation, window.reversed) == ((2, 2), (1, 3), (0,))
