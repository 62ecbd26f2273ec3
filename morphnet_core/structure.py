"""Structure: how many and which channels each layer keeps, and the JSON file of it.

The top level of the file is what the original MorphNet's ``StructureExporter`` wrote,
``{"conv1/Conv2D": 25, ...}`` by operation name, so that tools made for it read it as it is; one
more key, ``"morphnet"``, holds everything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError
from costmodel.figures import NOTHING, percent, quantity
from costmodel.html import html_table
from costmodel.plain_json import plain_json
from morphnet_core.structure_fields import (
    LayerWidth,
    fail,
    is_amount,
    is_number,
    read_layers,
    unique_keys,
)

#: Version of the ``"morphnet"`` part; a reader refuses a later one.
FORMAT = 1
#: Key of everything that the original's files lack.
EXTRA = "morphnet"
#: Largest file that is read, in bytes: a network of a million channels needs a tenth of it.
LARGEST_FILE = 64 * 2**20
#: Operation types that end a name in the original's files, and those this package adds.
OPERATIONS = (
    "Conv2D", "Conv3D", "Conv2DBackpropInput", "Conv3DBackpropInputV2", "MatMul",
    "DepthwiseConv2dNative", "separable_conv2d", "conv2d_transpose", "convolution",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A proposed network: the channels that every layer keeps, and what it is expected to cost.

    Attributes:
        layers: what each producing layer keeps, by the path of the layer (``conv1``,
            ``backbone/conv1`` inside a nested model), in the order of the network or, read from a
            file, of the names.
        groups: kept channels of each group of layers that live and die together.
        device: the device that the costs are for; empty where they are of none.
        costs: cost of the proposed network by name, e.g. ``{"flops": 1.2e9}``.
        predicted_ms: latency predicted for it on ``device``, milliseconds.
        measured_ms: latency timed on ``device``, milliseconds.
        removed: paths of the layers that are not there any more, in the order of the network.

    >>> kept = LayerWidth(count=2, of=4, kept=(0, 2), operation="Conv2D")
    >>> Structure(layers={"conv1": kept}, groups={"conv1": 2}).counts
    {'conv1/Conv2D': 2}
    """

    layers: Mapping[str, LayerWidth]
    groups: Mapping[str, int] = field(default_factory=dict)
    device: str = ""
    costs: Mapping[str, float] = field(default_factory=dict)
    predicted_ms: float | None = None
    measured_ms: float | None = None
    removed: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Kept channels by the names that the original gave operations: ``conv1/Conv2D``."""
        return {
            f"{name}/{layer.operation}" if layer.operation else name: layer.count
            for name, layer in self.layers.items()
        }

    def _repr_html_(self) -> str:
        """The structure in a notebook: what it costs, and the channels of its layers."""
        costs = [f"{quantity(value, name)}" for name, value in self.costs.items()]
        if self.measured_ms is not None:
            costs.append(f"measured {quantity(self.measured_ms, 'ms')}")
        rows = [
            (
                name,
                str(layer.count),
                str(layer.of or NOTHING),
                percent(layer.count / layer.of if layer.of else None, 0),
            )
            for name, layer in self.layers.items()
        ]
        return html_table(
            f"Structure of {len(rows)} layers",
            rows,
            columns=("layer", "channels", "of", "share"),
            notes=[", ".join(costs)] * bool(costs) + [self._without] * bool(self.removed),
        )

    @property
    def _without(self) -> str:
        return f"without {', '.join(self.removed)}"

    def to_json(self) -> str:
        """The text of the structure's file: keys sorted, indented by 2, lists on one line."""
        layers = {
            name: {
                "of": layer.of,
                "operation": layer.operation,
                "kept": None if layer.kept is None else list(layer.kept),
            }
            for name, layer in self.layers.items()
        }
        extra = {
            "format": FORMAT,
            "layers": layers,
            "groups": dict(self.groups),
            "device": self.device,
            "costs": dict(self.costs),
            "predicted_ms": self.predicted_ms,
            "measured_ms": self.measured_ms,
            "removed": list(self.removed),
        }
        text = json.dumps(self.counts | {EXTRA: extra}, indent=2, sort_keys=True, allow_nan=False)
        # Strings hold no raw line end, so only lists of numbers match.
        return re.sub(r"\[\s+[\d,\s]+\]", lambda m: " ".join(m[0].split()), text) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the structure's file whole; an older one is replaced.

        Raises:
            InvalidInputError: if it cannot be written.
        """
        write_lines(Path(path), [self.to_json().encode()])
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Structure:
        """Read a structure's file, or the bare ``{name: count}`` of the original MorphNet.

        Raises:
            InvalidInputError: naming file and field, if it is not such a file.
        """
        source = Path(path)
        try:
            with source.open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            fail(source, f"the file cannot be read ({error.strerror})", "give a structure's file")
        if len(data) > LARGEST_FILE:
            fail(source, f"it is larger than {LARGEST_FILE >> 20} MiB", "give a structure's file")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            fail(source, f"byte {error.start} is not UTF-8 text", "give a structure's JSON file")
        return cls.from_json(text, where=str(source))

    @classmethod
    def from_json(cls, text: str, *, where: str = "structure") -> Structure:
        """Read the text of a structure's file.

        Args:
            text: JSON.
            where: what to call it in errors, a path for instance.

        Raises:
            InvalidInputError: naming ``where`` and the field, if it is no structure.
        """
        content = _parse(text, where)
        # A layer may be called like the key of the extra part, but has a number for value.
        extra = content.pop(EXTRA) if isinstance(content.get(EXTRA), dict) else None
        for name, count in content.items():
            if not name or not is_amount(count):
                fail(f"{where}, {name!r}", f"{count!r:.80} is no count of channels", _WANTED)
        if extra is None:
            return cls(layers=_bare(content, where))
        return _whole(cls, content, extra, where)


_WANTED = "expected a whole number from 0, as in {'conv1/Conv2D': 25}"


def _parse(text: str, where: str) -> dict[str, Any]:
    """The JSON object in ``text``; no number in it is infinite or not a number."""

    def refuse(constant: str) -> Any:
        fail(where, f"it holds {constant}", "structures hold finite numbers only")

    try:
        content = plain_json(text, object_pairs_hook=unique_keys, parse_constant=refuse)
    except InvalidInputError as error:
        fail(where, str(error), "remove one of the two")
    except ValueError as error:
        fail(where, f"it is no JSON: {error}", "save the structure again, or mend it there")
    if not isinstance(content, dict):
        fail(where, f"it holds a {type(content).__name__}", "expected an object of names to counts")
    return content


def _bare(content: Mapping[str, int], where: str) -> dict[str, LayerWidth]:
    """Layers of the original's file: its names end in the operation's type, or in nothing."""
    layers: dict[str, LayerWidth] = {}
    for name, count in content.items():
        path, _, operation = name.rpartition("/")
        if operation not in OPERATIONS or not path:
            path, operation = name, ""
        if path in layers:
            fail(f"{where}, {name!r}", f"layer {path!r} has a count already", "remove one of them")
        layers[path] = LayerWidth(count=count, operation=operation)
    return layers


def _whole(
    cls: type[Structure], counts: Mapping[str, int], extra: Mapping[str, Any], where: str
) -> Structure:
    """The structure of a file that this package wrote."""
    inside = f"{where}, '{EXTRA}'"
    version = extra.get("format")
    if version != FORMAT:
        fail(f"{inside}, 'format'", f"it is {version!r:.40}, not {FORMAT}", "update this package")
    layers = read_layers(extra.get("layers"), counts, inside)
    groups, costs = extra.get("groups", {}), extra.get("costs", {})
    if not isinstance(groups, dict) or not all(map(is_amount, groups.values())):
        fail(f"{inside}, 'groups'", "not every group has a count", _WANTED)
    if not isinstance(costs, dict) or not all(map(is_number, costs.values())):
        fail(f"{inside}, 'costs'", "not every cost is a number", "expected {'flops': 1.2e9}")
    for key in ("predicted_ms", "measured_ms"):
        value = extra.get(key)
        if value is not None and (not is_number(value) or value < 0):
            fail(f"{inside}, {key!r}", f"{value!r:.40} is no time", "expected milliseconds or null")
    if not isinstance(extra.get("device", ""), str):
        fail(f"{inside}, 'device'", "it is no text", "expected the device's name")
    removed = extra.get("removed", [])
    if not isinstance(removed, list) or not all(isinstance(name, str) for name in removed):
        fail(f"{inside}, 'removed'", "it is no list of layers", "expected ['block2_conv1']")
    return cls(
        layers=layers,
        groups=groups,
        device=extra.get("device", ""),
        costs=costs,
        predicted_ms=extra.get("predicted_ms"),
        measured_ms=extra.get("measured_ms"),
        removed=tuple(removed),
    )


def match_names(given: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Which of ``wanted`` each of the ``given`` layer names means.

    A name is taken as it is where it can be. Else a folder that all given names share (a variable
    scope of the original) or that all wanted ones share is left out of both.

    Returns:
        Wanted name by given name; names without a partner are missing.
    """
    exact = {name: name for name in given if name in set(wanted)}
    if len(exact) == len(given):
        return exact
    ends = {name[shared_folder(wanted) :]: name for name in wanted}
    cut = shared_folder(given)
    by_end = {name: ends[name[cut:]] for name in given if name[cut:] in ends}
    plain = {name: ends[name] for name in given if name in ends}
    return max((exact, by_end, plain), key=len)


def shared_folder(names: Sequence[str]) -> int:
    """Length of the folders, slash at the end included, that all names begin with."""
    first, *rest = names or [""]
    length = first.rfind("/") + 1
    while length and not all(name.startswith(first[:length]) for name in rest):
        length = first.rfind("/", 0, length - 1) + 1
    return length
