"""Network: a model's Ops and their wiring, as written or as a runtime executes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from costmodel.equality import same_fields
from costmodel.errors import ModelFormatError
from costmodel.kinds import MOVES
from costmodel.op import SESSION, Op, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One node of a Network.

    Attributes:
        name: unique within the network.
        op: its work.
        inputs: tensor names read, activations only, in operand order.
        outputs: tensor names written.
        covers: layers of the network as written that this executed kernel carries out.
        share: share of the run time seen while lowering, 0 to 1; NaN when nobody looked.
        origin: path of the model's own layer, the same for all its steps and all its calls;
            empty where that is ``name``.
        call: which call of that layer, from 0.
        frozen: why its channels must stay as they are although its work is known; empty where they
            may be followed.
    """

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    share: float = float("nan")
    origin: str = ""
    call: int = 0
    frozen: str = ""

    __eq__ = same_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A layer that could not become Ops, with its place in the wiring.

    Attributes:
        inputs: tensor names read.
        outputs: tensor names written.
        sizes: size of each of ``outputs``, as the network's other sizes.
        reason: why it could not be read.
        origin: as ``Layer.origin``.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: tuple[Shape, ...]
    reason: str
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A model's layers in an order in which they can run.

    Attributes:
        name: the model's name, for people.
        layers: the nodes; each reads only tensors written before it.
        inputs: sizes of the tensors the model is fed.
        outputs: names of the tensors it returns.
        unread: layers that could not become Ops, each with its reason.
        unread_shares: share of the run time of each ``unread`` layer where it was seen.
        source: ``written``, ``lowered`` (asked from the runtime) or ``anticipated`` (by rule).
        opaque: wiring of ``unread`` layers, by name, where the reader knows it.
        channels_last: whether the model itself keeps channels last. Sizes are channels first all
            the same; only what a reshape does to the order of values depends on it.
    """

    name: str
    layers: tuple[Layer, ...]
    inputs: Mapping[str, Shape] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    unread_shares: Mapping[str, float] = field(default_factory=dict)
    source: str = "written"
    opaque: Mapping[str, Opaque] = field(default_factory=dict)
    channels_last: bool = False

    @property
    def ops(self) -> tuple[Op, ...]:
        """The Ops in execution order, one per layer."""
        return tuple(layer.op for layer in self.layers)

    def beside(self) -> dict[str, tuple[str, ...]]:
        """Of kernels that carry out no layer as written, by name: the layers that each belongs to.

        A kernel that a runtime added to store a tensor another way belongs to those of the kernel
        that wrote the tensor. One that works, such as the product that takes the place of another,
        belongs to those of the kernel that reads its result. Where there is none, the other's do.
        """
        writer: dict[str, tuple[str, ...]] = {}
        reader: dict[str, tuple[str, ...]] = {}
        for layer in self.layers:
            home = layer.covers or next((writer[n] for n in layer.inputs if n in writer), ())
            writer.update(dict.fromkeys(layer.outputs, home) if home else {})
        for layer in reversed(self.layers):
            home = layer.covers or next((reader[n] for n in layer.outputs if n in reader), ())
            reader.update(dict.fromkeys(layer.inputs, home) if home else {})
        found = {}
        for layer in self.layers:
            before = [writer[name] for name in layer.inputs if name in writer]
            after = [reader[name] for name in layer.outputs if name in reader]
            homes = before + after if layer.op.kind in MOVES else after + before
            if homes and not layer.covers:
                found[layer.name] = homes[0]
        return found

    def own_axis(self, axis: int, rank: int) -> int:
        """Where an axis of a tensor of ``rank`` axes lies in the model's own order, from 0."""
        if not self.channels_last or rank < 3 or not axis:
            return axis
        return rank - 1 if axis == 1 else axis - 1

    def neutral_axis(self, axis: int, rank: int) -> int:
        """The reverse of ``own_axis``."""
        if not self.channels_last or rank < 3 or not axis:
            return axis
        return 1 if axis == rank - 1 else axis + 1

    def check(self) -> None:
        """Raise ``ModelFormatError`` unless names are unique and every read tensor exists.

        Where layers are unread and their wiring is unknown, a tensor that nobody writes may be
        theirs.
        """
        known = set(self.inputs)
        known.update(name for layer in self.opaque.values() for name in layer.outputs)
        loose = set(self.unread) - set(self.opaque)
        names: set[str] = set()
        for layer in self.layers:
            if layer.name in names:
                message = f"Network {self.name!r} has two layers named {layer.name!r}."
                raise ModelFormatError(message)
            names.add(layer.name)
            missing = [name for name in layer.inputs if name not in known]
            if missing and not loose:
                message = (
                    f"Layer {layer.name!r} of network {self.name!r} reads {missing[0]!r}, "
                    "which no earlier layer writes and the model is not fed."
                )
                raise ModelFormatError(message)
            known.update(layer.outputs)


def session_op(num_inputs: int, num_outputs: int) -> Op:
    """The fixed cost of one run, which depends on how many tensors cross the border."""
    return Op(kind=SESSION, inputs=((1,),) * num_inputs, outputs=((1,),) * num_outputs)


def model_digest(path: Path, sizes: Mapping[str, int]) -> str:
    """Digest of a model file and its bound sizes: which whole network a ``model`` row timed.

    Raises:
        ModelFormatError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8))
    except OSError as error:
        message = f"{path}: this file cannot be read ({error.strerror})."
        raise ModelFormatError(message) from error
    found.update(repr(sorted(sizes.items())).encode())
    return found.hexdigest()
