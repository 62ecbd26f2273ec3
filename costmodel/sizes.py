"""Gives open dimensions of a model's inputs their sizes: one way for every model format.

People write sizes as a mapping. A key is the name of a dimension, ``<input>:<axis>``, or ``batch``;
or the name of an input, with all of its sizes as value:
``{"height": 320, "tokens:1": 128, "batch": 8, "image": (1, 3, 320, 320)}``. The empty name stands
for the only input.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from costmodel.errors import InvalidInputError, ModelFormatError

#: Sizes as people give them; see above.
Sizes = Mapping[str, int | Sequence[int]]

#: Key for the batch of every input.
BATCH = "batch"
#: Largest size that a dimension may be given.
MOST = 2**31 - 1
#: What exporters write where a dimension has no name: equal ones need not be equal sizes.
_NAMELESS = re.compile(r"|\?+|-1|0|none|null|nan|unknown|any|\*", re.I)
#: Names that are a batch's wherever they stand, and those that are one's in the first place.
_BATCH = re.compile(r".*batch(?!.*(seq|len|head|beam|tok)).*", re.I)
_BATCH_IN_FRONT = re.compile(r"n|b|bs", re.I)
#: Names of first dimensions that are not a batch's.
_NO_BATCH = re.compile(
    r"[chwdtls]|.*(seq|len|time|frame|step|token|word|char|height|width|depth|point|node|edge|box"
    r"|channel|feat|hidden|past|audio|text|class|roi|proposal|query|vert(ex|ices)|faces).*",
    re.I,
)
#: Names that count steps of a sequence.
_STEPS = re.compile(r".*(seq|len|time|frame|step|token|word|char).*|[tls]", re.I)
#: Numbers of colours: a last dimension that tells an image.
_COLOURS = frozenset({1, 3, 4})
#: Inputs that a message lists.
_MOST_TOLD = 6


class OpenSizesError(ModelFormatError):
    """A model has open dimensions that nobody gave a size.

    Attributes:
        proposed: what could be given: a size for each of them, or a shape where even the number of
            dimensions is open.
    """

    def __init__(self, message: str, proposed: Sizes) -> None:
        """Keep what could be given.

        Args:
            message: what is open, and how to give it.
            proposed: see the class.
        """
        super().__init__(message)
        self.proposed = dict(proposed)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """What a model says of the size of one of its inputs.

    Attributes:
        name: of the input.
        dims: one per axis: a size, or the name of an open dimension, empty where it has none;
            ``None`` where even their number is open.
        preset: sizes of open dimensions by axis, where nobody gives another.
    """

    name: str
    dims: tuple[int | str, ...] | None
    preset: Mapping[int, int] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """Name and sizes, for messages."""
        dims = ["..."] if self.dims is None else [str(dim) or "?" for dim in self.dims]
        return f"{self.name}: [{', '.join(dims)}]"


@dataclass(frozen=True, slots=True)
class _Place:
    """One dimension of one input."""

    item: InputShape
    axis: int
    dim: int | str

    @property
    def key(self) -> str:
        """The name by which any dimension can be given."""
        return f"{self.item.name}:{self.axis}"

    @property
    def symbol(self) -> str:
        """Its own name, where it has one that tells it from others."""
        return self.dim if isinstance(self.dim, str) and not _NAMELESS.fullmatch(self.dim) else ""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names by which it can be given, its input's and axis first."""
        return (self.key, self.dim) if isinstance(self.dim, str) and self.dim else (self.key,)


def bind_shapes(
    where: str, inputs: Sequence[InputShape], sizes: Sizes
) -> dict[str, tuple[int, ...]]:
    """Sizes of every input, its open dimensions as they are given.

    A dimension that several inputs name is one. A batch that is not given is as large as one that
    is, else 1.

    Args:
        where: the model, for messages.
        inputs: of the model.
        sizes: what is given; see the module.

    Raises:
        InvalidInputError: for a size that is none, a name that the model lacks (lists the open
            ones), or a size that contradicts the model or another size.
        OpenSizesError: if dimensions stay open: names all of them and what gives them a size.

    >>> image = InputShape(name="image", dims=("N", 3, "height", "width"))
    >>> bind_shapes("net", [image], {"height": 320, "image:3": 240})
    {'image': (1, 3, 320, 240)}
    """
    inputs, given = _one_by_one(where, inputs, sizes)
    places = _places(inputs)
    batch = _batches(places, alone=len(inputs) == 1)
    found: dict[_Place, int] = {}
    for place in places:
        key = next((key for key in _keys(place, batch) if key in given), None)
        if key is not None:
            found[place] = given[key]
    _require_known(where, inputs, batch, given, found)
    _share(places, batch, found)
    _require_all(where, inputs, batch, found)
    return {
        item.name: tuple(found[place] for place in places if place.item is item) for item in inputs
    }


def given_names(inputs: Sequence[InputShape], sizes: Sizes) -> set[str]:
    """The keys of ``sizes`` that mean something for a model with these inputs."""
    places = _places(inputs)
    batch = _batches(places, alone=len(inputs) == 1)
    known = {key for place in places for key in _keys(place, batch)}
    names = {item.name for item in inputs} | {""}
    return {
        key
        for key, value in sizes.items()
        if key in (names if isinstance(value, tuple | list) else known)
    }


def as_options(sizes: Sizes) -> list[str]:
    """The options of a command line that give sizes.

    >>> as_options({"height": 320, "image": (1, 3, 320, 320)})
    ['--size', 'height=320', '--shape', 'image:1x3x320x320']
    """
    words: list[str] = []
    for name, value in sizes.items():
        if isinstance(value, int):
            words += ["--size", f"{name}={value}"]
        else:
            shape = "x".join(map(str, value))
            words += ["--shape", f"{name}:{shape}" if name else shape]
    return words


def _places(inputs: Iterable[InputShape]) -> list[_Place]:
    return [_Place(item, axis, dim) for item in inputs for axis, dim in enumerate(item.dims or ())]


def _keys(place: _Place, batch: set[_Place]) -> tuple[str, ...]:
    return (*place.keys, BATCH) if place in batch else place.keys


def _one_by_one(
    where: str, inputs: Sequence[InputShape], sizes: Sizes
) -> tuple[list[InputShape], dict[str, int]]:
    """The inputs, those of open rank with as many axes as are given, and shapes axis by axis."""
    given = spelled_out(where, inputs, sizes)
    return [_ranked(item, given) for item in inputs], given


def spelled_out(where: str, inputs: Sequence[InputShape], sizes: Sizes) -> dict[str, int]:
    """The same sizes without shapes: each as one size per axis of its input.

    Args:
        where: the model, for messages.
        inputs: of the model.
        sizes: what is given; see the module.

    Raises:
        InvalidInputError: for a size that is none, a shape of an input that the model lacks or
            whose axes are not as many, or a size that contradicts another.
    """
    given: dict[str, int] = {}
    for name, value in sizes.items():
        numbers = _numbers(name, value)
        if isinstance(value, int):
            _give(where, given, name, value)
            continue
        item = _input_of(where, inputs, name, numbers)
        for axis, number in enumerate(numbers):
            _give(where, given, f"{item.name}:{axis}", number)
    return given


def _numbers(name: str, value: int | Sequence[int]) -> list[int]:
    """The size, or all sizes of the shape, that is given."""
    numbers: list[Any] = list(value) if isinstance(value, tuple | list) else [value]
    for number in numbers:
        if type(number) is not int or not 1 <= number <= MOST:
            message = f"The size {name}={value!r} must be a whole number from 1 to {MOST}."
            raise InvalidInputError(message)
    return numbers


def _ranked(item: InputShape, given: Mapping[str, int]) -> InputShape:
    if item.dims is not None:
        return item
    rank = next(axis for axis in count() if f"{item.name}:{axis}" not in given)
    return replace(item, dims=("",) * rank) if rank else item


def _give(where: str, given: dict[str, int], key: str, size: int) -> None:
    if given.setdefault(key, size) != size:
        message = f"{where}: the dimension {key!r} is given as {given[key]} and as {size}."
        raise InvalidInputError(message)


def _input_of(
    where: str, inputs: Sequence[InputShape], name: str, numbers: Sequence[int]
) -> InputShape:
    """The input that a shape is for."""
    by_name = {item.name: item for item in inputs}
    item = by_name.get(name) or (inputs[0] if not name and len(inputs) == 1 else None)
    text = "x".join(map(str, numbers))
    if item is None:
        which = f"has no input {name!r}" if name else "has several inputs, so say which one"
        message = f"{where} {which} for the shape {text}. Its inputs: {_list(inputs)}."
        raise InvalidInputError(message)
    if item.dims is not None and len(item.dims) != len(numbers):
        message = (
            f"{where}: the shape {text} has {len(numbers)} sizes, and the input {item} has "
            f"{len(item.dims)}."
        )
        raise InvalidInputError(message)
    return item


def _batches(places: Sequence[_Place], *, alone: bool) -> set[_Place]:
    """The open dimensions that count what one run works on, if they are called so or come first."""
    elsewhere = {place.symbol for place in places if place.axis > 0}
    found = {
        place
        for place in places
        if isinstance(place.dim, str) and _is_batch(place, elsewhere, alone=alone)
    }
    symbols = {place.symbol for place in found} - {""}
    return found | {place for place in places if place.symbol in symbols}


def _is_batch(place: _Place, elsewhere: set[str], *, alone: bool) -> bool:
    dims = place.item.dims or ()
    # Exporters make names of an input's and a number, which say nothing of the dimension.
    symbol = place.symbol.removeprefix(f"{place.item.name}_")
    if _BATCH.fullmatch(symbol):
        return True
    if place.axis > 0:
        return False
    if _BATCH_IN_FRONT.fullmatch(symbol):
        return place.symbol not in elsewhere
    if len(dims) == 1 and alone:
        return False
    if len(dims) == 3 and dims[2] in _COLOURS and isinstance(dims[1], str):
        return False  # one image, channels last
    return place.symbol not in elsewhere - {""} and not _NO_BATCH.fullmatch(symbol)


def _require_known(
    where: str,
    inputs: Sequence[InputShape],
    batch: set[_Place],
    given: Mapping[str, int],
    found: Mapping[_Place, int],
) -> None:
    """Refuse names that the model lacks, and sizes that are other than its own or than another."""
    for place, size in found.items():
        if isinstance(place.dim, int) and place.dim != size:
            message = (
                f"{where}: dimension {place.axis} of input {place.item} is {place.dim}, so it "
                f"cannot be {size}."
            )
            raise InvalidInputError(message)
    places = _places(inputs)
    for key, size in given.items():
        meant = [place for place in places if key in _keys(place, batch)]
        if not meant:
            raise InvalidInputError(_unknown(where, inputs, batch, key, size))
        if all(found[place] != size for place in meant):
            message = f"{where}: {meant[0].key!r} is given as {found[meant[0]]}, and {key}={size}."
            raise InvalidInputError(message)


def _titles(inputs: Sequence[InputShape], places: Iterable[_Place]) -> dict[str, _Place]:
    """Open dimensions by the plainest name that means nothing else; one for each name."""
    names = {item.name for item in inputs}
    found: dict[str, _Place] = {}
    for place in places:
        plain = place.symbol and place.symbol not in names and ":" not in place.symbol
        found.setdefault(place.symbol if plain else place.key, place)
    return found


def _unknown(
    where: str, inputs: Sequence[InputShape], batch: set[_Place], key: str, size: int
) -> str:
    open_ones = [place for place in _places(inputs) if isinstance(place.dim, str)]
    names = list(dict.fromkeys([*([BATCH] if batch else []), *_titles(inputs, open_ones)]))
    close = difflib.get_close_matches(key, names, 1)
    return (
        f"{where} has no open dimension {key!r} to set to {size}"
        f"{f'; did you mean {close[0]!r}?' if close else '.'} "
        f"Open: {', '.join(map(repr, names)) or 'none'}. Its inputs: {_list(inputs)}."
    )


def _share(places: Iterable[_Place], batch: set[_Place], found: dict[_Place, int]) -> None:
    """Give open dimensions the size of another that must be the same, else their default."""
    known: dict[str, set[int]] = {}
    for place, size in found.items():
        known.setdefault(place.symbol, set()).add(size)
    batches = {size for place, size in found.items() if place in batch}
    for place in places:
        same = known.get(place.symbol, set()) if place.symbol else set()
        if place in found:
            continue
        if isinstance(place.dim, int):
            found[place] = place.dim
        elif len(same) == 1:
            found[place] = next(iter(same))
        elif place in batch and len(batches) == 1:
            found[place] = next(iter(batches))
        elif place in batch or place.axis in place.item.preset:
            found[place] = place.item.preset.get(place.axis, 1)


def _require_all(
    where: str, inputs: Sequence[InputShape], batch: set[_Place], found: Mapping[_Place, int]
) -> None:
    """Ask for everything that is still open, at once."""
    proposed: dict[str, int | Sequence[int]] = {}
    asked: list[InputShape] = []
    for item in inputs:
        missing = [place for place in _places([item]) if place not in found]
        if missing or item.dims is None:
            asked.append(item)
        if item.dims is None:
            proposed[item.name] = (1, 3, 224, 224)
        for title, place in _titles(inputs, missing).items():
            proposed.setdefault(title, _proposal(place))
    if not proposed:
        return
    command = shlex.join(as_options(proposed))
    one = len(proposed) == 1
    message = (
        f"{where}: {'a dimension' if one else f'{len(proposed)} dimensions'} of its inputs "
        f"({_list(asked)}) {'is' if one else 'are'} open"
        f"{', beside the batch, which is 1 unless given' if batch else ''}. "
        f"Give {'its size' if one else 'all sizes at once'}, for instance: {command} "
        f"(in Python: sizes={proposed})."
    )
    raise OpenSizesError(message, proposed)


def _proposal(place: _Place) -> int:
    """A size that is usual for such a dimension."""
    dims = place.item.dims or ()
    if _STEPS.fullmatch(place.symbol) or len(dims) < 3:
        return 128
    if len(dims) == 3:
        return 224 if dims[-1] in _COLOURS or dims[0] in _COLOURS else 128
    if len(dims) == 4:
        return 3 if place.axis == 1 and dims[-1] not in _COLOURS else 224
    return 16


def _list(inputs: Sequence[InputShape]) -> str:
    told = "; ".join(map(str, inputs[:_MOST_TOLD]))
    more = len(inputs) - _MOST_TOLD
    return f"{told}; and {more} more" if more > 0 else told or "none"
