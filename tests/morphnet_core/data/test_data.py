"""Data in any structure that Keras takes: counted, cut into batches, and brought to its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from morphnet_core.data import Data, fed
from morphnet_core.data.nested import leaves

pytestmark = pytest.mark.keras

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3))
STRUCTURES = st.recursive(
    SHAPES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=2).map(tuple),
        st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, min_size=1, max_size=3),
    ),
    max_leaves=5,
)


def filled(shape: Any, count: int, numbers: Iterator[int]) -> Any:
    """Arrays of a structure of shapes, each with numbers of its own."""
    if isinstance(shape, dict):
        return {key: filled(value, count, numbers) for key, value in shape.items()}
    if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape):
        return np.full((count, *shape), next(numbers), dtype="float32")
    return type(shape)(filled(value, count, numbers) for value in shape)


def inputs_of(structure: Any, names: Iterator[int]) -> Any:
    if isinstance(structure, dict):
        return {key: inputs_of(value, names) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(inputs_of(value, names) for value in structure)
    return keras.Input(structure.shape[1:], name=f"input{next(names)}")


@settings(max_examples=100, deadline=None)
@given(STRUCTURES, STRUCTURES, st.integers(4, 70), st.integers(1, 20))
def test_steps_are_counted_from_the_samples(x: Any, y: Any, count: int, batch: int) -> None:
    numbers = iter(range(100))
    data = Data(x=filled(x, count, numbers), y=filled(y, count, numbers), batch_size=batch)
    assert data.steps == -(-count // batch)
    every = data.first(10**6)
    assert len(every) == data.steps
    flat = [keras.tree.flatten(own) for own, _, _ in every]
    joined = [np.concatenate(parts) for parts in zip(*flat, strict=True)]
    for whole, (_, leaf) in zip(joined, leaves(data.x), strict=True):
        np.testing.assert_array_equal(whole, leaf)
    keras.tree.assert_same_structure(data.samples(3), data.x)


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@settings(max_examples=25, deadline=None)
@given(STRUCTURES)
def test_every_input_is_fed_its_own_array(structure: Any) -> None:
    x = filled(structure, 2, iter(range(100)))
    inputs = inputs_of(x, iter(range(100)))
    model = keras.Model(inputs, inputs)
    returned = keras.tree.flatten(model(x))
    found = fed(model, Data(x=x).samples(2))
    assert list(found) == [item.name for item in model.inputs]
    for array, own in zip(returned, found.values(), strict=True):
        np.testing.assert_array_equal(own, np.asarray(array))


def test_two_inputs_are_not_two_samples() -> None:
    a, b, y = np.zeros((512, 4)), np.zeros((512, 2)), np.zeros(512)
    assert Data(x=[a, b], y=y).steps == 8
    assert Data(x=(a, b), y={"one": y, "two": y}).steps == 8


def test_lists_of_samples_are_one_array() -> None:
    x = [np.full((2, 3), place) for place in range(5)]
    data = Data(x=x, y=[0, 1, 0, 1, 1])
    assert data.x.shape == (5, 2, 3)
    assert Data(x=[[0.0, 1.0]] * 7, y=list(range(7))).x.shape == (7, 2)


@pytest.mark.parametrize(
    ("given_x", "given_y", "words"),
    [
        ([1, 2], [1], "2 inputs with 1 targets"),
        ({"a": np.zeros(4), "b": np.zeros(3)}, np.zeros(4), "4 inputs (a) with 3 inputs (b)"),
        ([], [], "at least one"),
    ],
)
def test_what_does_not_agree_is_named(given_x: Any, given_y: Any, words: str) -> None:
    with pytest.raises(InvalidInputError) as found:
        Data(x=given_x, y=given_y)
    assert words in str(found.value)


class Numbered(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return np.full((4, 2), index, dtype="float32"), np.zeros(4)


def test_batches_of_a_data_set() -> None:
    data = Data(x=Numbered(), x_val=Numbered())
    assert data.steps == 6
    assert [float(x[0, 0]) for x, _, _ in data.first(3)] == [0.0, 1.0, 2.0]
    assert data.fit_arguments["x"] is data.x
    assert data.validation is data.x_val
    assert data.samples(6).shape == (6, 2)


def test_a_generator_is_looked_at_before_it_is_taken() -> None:
    numbers = iter((np.full((4, 2), n), np.zeros(4)) for n in range(9))
    with pytest.raises(InvalidInputError, match="steps_per_epoch"):
        Data(x=(n for n in [1]))
    data = Data(x=numbers, steps_per_epoch=3)
    assert data.steps == 3
    assert [float(x[0, 0]) for x, _, _ in data.first(2)] == [0.0, 1.0]
    assert [float(x[0, 0]) for x, _, _ in data.first(2)] == [0.0, 1.0], "they stay to be taken"
    first, second = data.fit_arguments["x"], data.fit_arguments["x"]
    assert [float(next(first)[0][0, 0]) for _ in range(4)] == [0.0, 1.0, 2.0, 3.0]
    assert float(next(second)[0][0, 0]) == 4.0, "one training goes on where the last one ended"


def test_targets_beside_a_stream_are_an_error() -> None:
    with pytest.raises(InvalidInputError, match="whose batches hold their targets"):
        Data(x=Numbered(), y=np.zeros(24))


def model_of(**inputs: tuple[Any, str]) -> Any:
    made = [keras.Input(shape, dtype=dtype, name=name) for name, (shape, dtype) in inputs.items()]
    return keras.Model(made, made)


def test_arrays_come_in_the_type_of_their_input() -> None:
    model = model_of(picture=((4, 4, 1), "uint8"), ids=((3,), "int64"), mask=((2,), "bool"))
    arrays = [np.full((2, 4, 4), 200.0), np.arange(6).reshape(2, 3), np.ones((2, 2))]
    found = fed(model, arrays)
    assert {name: str(item.dtype) for name, item in found.items()} == {
        "picture": "uint8", "ids": "int64", "mask": "bool",
    }  # fmt: skip
    assert found["picture"].shape == (2, 4, 4, 1), "as Keras adds a last axis of one"


def test_arrays_that_no_input_takes_are_named() -> None:
    model = model_of(left=((4,), "float32"), right=((2,), "float32"))
    with pytest.raises(InvalidInputError, match=r"has 2 inputs .left, right., but the data have 1"):
        fed(model, np.zeros((2, 4)))
    with pytest.raises(InvalidInputError, match=r"Input 'right' of model .* takes .None, 2."):
        fed(model, [np.zeros((2, 4)), np.zeros((2, 3))])
    with pytest.raises(InvalidInputError, match="has an input 'right', but the data are named"):
        fed(model, {"left": np.zeros((2, 4)), "write": np.zeros((2, 2))})
    assert list(fed(model, {"right": np.zeros((2, 2)), "left": np.zeros((2, 4)), "more": 0})) == [
        "left", "right",
    ]  # fmt: skip
