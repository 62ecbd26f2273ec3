"""The plug point through which a network's channels are changed: found by name, like runners.

``costmodel`` prices networks and knows nothing of which channels live and die together. What knows
registers an ``Editor`` in the entry-point group ``costmodel.editors``; ``morphnet_core`` has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.protocols import CostModel, NetworkLaw
from costmodel.sizes import Sizes

EDITORS = "costmodel.editors"
#: The editor of ONNX files.
ONNX = "onnx"
#: New channels of those groups that change, by name.
Widths = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Channels of a network that live and die together.

    Attributes:
        name: of the group: the first layer that writes them.
        size: how many there are that can be taken or added one by one.
        each: channels of the first layer's that one of them stands for: as many as a grouped
            convolution has groups whose shares are the same.
        spans: of one of them, channels that lie together in what kernels work on: in a tensor, or
            in what one group of a convolution reads or writes.
        writers: layers, as the file names them, that write fresh ones.
        through: layers that pass them on, such as depthwise convolutions.
        readers: layers that make others of them.
        frozen: why their number cannot change; empty where it can.
    """

    name: str
    size: int
    each: int = 1
    spans: tuple[int, ...] = (1,)
    writers: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    frozen: str = ""

    @property
    def layers(self) -> frozenset[str]:
        """Every layer that has to do with them."""
        return frozenset((*self.writers, *self.through, *self.readers))


class Editable(Protocol):
    """A network whose channels can be changed."""

    @property
    def groups(self) -> tuple[Channels, ...]:
        """All its channels, in the network's order."""
        ...

    def gains_ms(self, many: Sequence[Widths]) -> list[float]:
        """What each of several changes saves, by rule and quickly; minus infinity if unknown."""
        ...

    def fast_widths(self) -> Widths:
        """The widths, none below those of now, that the network is predicted to be fastest with."""
        ...

    def save(self, widths: Widths, path: Path) -> None:
        """Write the network at other widths.

        Where no group shrinks, its function stays the same, and that was tried on random inputs;
        else it is what a pruner would leave, of the first channels of each group.

        Raises:
            ModelFormatError: if the file's constants cannot follow, or results would differ.
            InvalidInputError: if a group that is frozen or unknown would change.
        """
        ...


@runtime_checkable
class Editor(Protocol):
    """Plug point: opens a file whose channels are to be changed."""

    def open(
        self,
        path: Path,
        sizes: Sizes,
        *,
        cost: CostModel,
        device: Device | None,
        law: NetworkLaw | None,
    ) -> Editable:
        """Open a file.

        Args:
            path: the network.
            sizes: of open dimensions; files that are saved keep them open.
            cost: prices kernels, in milliseconds.
            device: whose runtime decides what is executed.
            law: from the sum of kernels to networks.

        Raises:
            ModelFormatError: if its channels cannot be changed at all; says why.
            InvalidInputError: if too little of it has a price.
        """
        ...


def load_editor(name: str = ONNX) -> Editor:
    """Make the editor registered under a name.

    Raises:
        InvalidInputError: if none is registered, or it cannot be imported.
    """
    found = {item.name: item for item in entry_points(group=EDITORS)}
    if name not in found:
        message = (
            f"No editor {name!r} is registered here (entry-point group {EDITORS!r}), so no channel "
            "can be changed. Install the package anew: pip install morphnet-latency."
        )
        raise InvalidInputError(message)
    try:
        editor: Editor = found[name].load()()
    except (ImportError, AttributeError) as error:
        message = (
            f"The editor {name!r} ({found[name].value}) cannot be imported: {error}. Install the "
            "package that brings it anew."
        )
        raise InvalidInputError(message) from error
    return editor
