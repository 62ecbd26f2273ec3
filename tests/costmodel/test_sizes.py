"""One way to give open dimensions their sizes: named, by input and axis, by shape, or asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.cli.options import parse_sizes
from costmodel.errors import InvalidInputError
from costmodel.sizes import (
    InputShape,
    OpenSizesError,
    Sizes,
    as_options,
    bind_shapes,
    given_names,
    spelled_out,
)


def item(name: str, *dims: int | str) -> InputShape:
    return InputShape(name=name, dims=dims)


def bound(sizes: Sizes, *inputs: InputShape) -> list[tuple[int, ...]]:
    return list(bind_shapes("net", inputs, sizes).values())


@pytest.mark.parametrize("name", ["N", "batch_size", "p2o.DynamicDimension.0", "unk__12", "None",
                                  "", "?", "-1", "s77", "x_dynamic_axes_1", "dim0"])  # fmt: skip
def test_a_batch_is_one_under_any_name(name: str) -> None:
    image = item("x", name, 3, 32, 32)
    assert bound({}, image) == [(1, 3, 32, 32)]
    assert bound({"batch": 8}, image) == [(8, 3, 32, 32)]
    assert bound({"x:0": 8}, image) == [(8, 3, 32, 32)]
    assert bound({"x": (8, 3, 32, 32)}, image) == [(8, 3, 32, 32)]
    if name:
        assert bound({name: 8}, image) == [(8, 3, 32, 32)]


@pytest.mark.parametrize(
    "image",
    [
        item("x", "height", "width", 3),
        item("x", "", "", 3),  # one image, channels last
        item("x", "seq_len", 64),
        item("x", "num_boxes", 4),
        item("x", "nodes", "nodes"),
        item("x", "p2o.0", "p2o.0"),
        item("x", ""),
        InputShape(name="x", dims=None),
    ],
)
def test_a_first_dimension_that_is_no_batch_is_asked_for(image: InputShape) -> None:
    with pytest.raises(OpenSizesError):
        bound({}, image)
    with pytest.raises(InvalidInputError, match="no open dimension 'batch'"):
        bound({"batch": 2}, image)


def test_everything_that_is_open_is_asked_for_at_once() -> None:
    image = item("x", "p2o.0", 3, "p2o.1", "p2o.2")
    words = item("ids", "p2o.0", "seq len")
    with pytest.raises(OpenSizesError) as told:
        bound({}, image, words)
    assert told.value.proposed == {"p2o.1": 224, "p2o.2": 224, "seq len": 128}
    for piece in ("3 dimensions", "--size p2o.1=224", "--size 'seq len=128'", "batch, which is 1"):
        assert piece in str(told.value)


def test_a_dimension_that_several_inputs_name_is_one() -> None:
    inputs = [item("a", "batch", "length"), item("b", "batch", "length", 4), item("c", "batch")]
    assert bound({"length": 5}, *inputs) == [(1, 5), (1, 5, 4), (1,)]
    assert bound({"a": (2, 5)}, *inputs) == [(2, 5), (2, 5, 4), (2,)]
    assert bound({"b:1": 5, "c:0": 3}, *inputs) == [(3, 5), (3, 5, 4), (3,)]
    assert bound({"length": 5, "a:1": 6}, *inputs) == [(1, 6), (1, 5, 4), (1,)]


def test_nameless_batches_go_together() -> None:
    inputs = [item("a", "", 4), item("b", "", 5), item("t", "")]
    assert bound({"a:0": 7}, *inputs) == [(7, 4), (7, 5), (7,)]
    assert bound({"a:0": 7, "b:0": 2, "t:0": 1}, *inputs) == [(7, 4), (2, 5), (1,)]
    assert bound({"batch": 7, "b:0": 2}, *inputs) == [(7, 4), (2, 5), (7,)]


def test_names_that_say_nothing_are_not_one_dimension() -> None:
    image = item("x", "?", 3, "?", "?")
    with pytest.raises(OpenSizesError, match="--size x:2=224 --size x:3=224"):
        bound({}, image)
    assert bound({"x:2": 20, "x:3": 30}, image) == [(1, 3, 20, 30)]


def test_the_only_input_need_not_be_named() -> None:
    assert bound({"": (1, 3, 8, 9)}, item("x", "N", 3, "h", "w")) == [(1, 3, 8, 9)]
    assert bound({"": (2, 3)}, InputShape(name="x", dims=None)) == [(2, 3)]
    assert bound({"x:0": 2, "x:1": 3}, InputShape(name="x", dims=None)) == [(2, 3)]
    with pytest.raises(InvalidInputError, match="several inputs"):
        bound({"": (1, 3)}, item("x", "N", 3), item("z", "N", 3))


def test_a_file_may_propose_sizes_itself() -> None:
    image = InputShape(name="x", dims=("", "", 3), preset={0: 1, 1: 96})
    assert bound({}, image) == [(1, 96, 3)]
    assert bound({"x:1": 5}, image) == [(1, 5, 3)]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"bacth": 8}, "no open dimension 'bacth' to set to 8; did you mean 'batch'"),
        ({"width": 8}, "Open: 'batch', 'N', 'h', 'w'"),
        ({"x:1": 4}, "dimension 1 of input x: .* is 3, so it cannot be 4"),
        ({"x": (1, 4, 8, 8)}, "is 3, so it cannot be 4"),
        ({"x": (1, 3, 8)}, "3 sizes, and the input x: .* has 4"),
        ({"z": (1, 3, 8, 8)}, "no input 'z'"),
        ({"x:7": 1}, "no open dimension 'x:7'"),
        ({"x": (1, 3, 8, 8), "x:2": 9}, "given as 8 and as 9"),
        ({"batch": 2, "N": 3}, "'x:0' is given as 3, and batch=2"),
        ({"h": 0}, "whole number"),
        ({"h": True}, "whole number"),
        ({"h": 2**31}, "whole number"),
        ({"h": 2.5}, "whole number"),
        ({"h": "8"}, "whole number"),
        ({"x": (1, 3, 8, 0)}, "whole number"),
    ],
)
def test_a_size_that_fits_nothing_is_refused(sizes: Sizes, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        bound(sizes, item("x", "N", 3, "h", "w"))


def test_a_size_that_the_model_has_already_is_fine() -> None:
    assert bound({"x": (1, 3), "x:1": 3}, item("x", 1, 3)) == [(1, 3)]


def test_names_that_are_of_use() -> None:
    inputs = [item("x", "N", 3, "h"), InputShape(name="free", dims=None)]
    sizes: Sizes = {"h": 1, "batch": 1, "x:1": 3, "x": (1, 3, 4), "free": (2,), "w": 1, "y": (1,)}
    assert given_names(inputs, sizes) == {"h", "batch", "x:1", "x", "free"}
    assert spelled_out("net", inputs, {"x": (1, 3, 4), "h": 4}) == {
        "x:0": 1, "x:1": 3, "x:2": 4, "h": 4,
    }  # fmt: skip


_NAMES = [
    "N",
    "batch",
    "h",
    "w",
    "seq",
    "",
    "?",
    "None",
    "p2o.0",
    "p2o.1",
    "a b",
    "x:1",
    "-1",
    "h=2",
]
_DIMS = st.one_of(st.sampled_from(_NAMES), st.integers(1, 4), st.text(max_size=4))
_INPUTS = st.lists(
    st.builds(
        lambda name, dims: InputShape(name=name, dims=dims),
        st.sampled_from(["x", "y", "ids:0", "a,b", "input 1", "ü"]),
        st.none() | st.lists(_DIMS, max_size=5).map(tuple),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda shape: shape.name,
)


def left_open(inputs: list[InputShape]) -> Sizes:
    try:
        bind_shapes("net", inputs, {})
    except OpenSizesError as told:
        return told.proposed
    return {}


@given(inputs=_INPUTS)
def test_what_is_proposed_is_all_that_is_missing_and_can_be_typed(inputs: list[InputShape]) -> None:
    proposed = left_open(inputs)
    words = as_options(proposed)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    typed = parse_sizes(
        [text for option, text in pairs if option == "--size"],
        [text for option, text in pairs if option == "--shape"],
    )
    assert typed == proposed
    shapes = bind_shapes("net", inputs, typed)
    for shape in inputs:
        found = shapes[shape.name]
        assert all(type(size) is int and size >= 1 for size in found)
        for size, dim in zip(found, shape.dims or found, strict=True):
            assert isinstance(dim, str) or size == dim


@given(inputs=_INPUTS, data=st.data())
def test_every_size_that_is_given_is_taken_or_refused(
    inputs: list[InputShape], data: st.DataObject
) -> None:
    shapes = {
        shape.name: tuple(
            dim if isinstance(dim, int) else data.draw(st.integers(1, 9))
            for dim in (shape.dims if shape.dims is not None else ("", ""))
        )
        for shape in inputs
    }
    assert bind_shapes("net", inputs, shapes) == shapes
    one_by_one = {f"{name}:{i}": n for name, shape in shapes.items() for i, n in enumerate(shape)}
    if all(shape.dims is not None for shape in inputs):
        assert bind_shapes("net", inputs, one_by_one) == shapes
    with pytest.raises(InvalidInputError, match="bacth"):
        bind_shapes("net", inputs, {**shapes, "bacth": 3})
