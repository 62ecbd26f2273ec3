"""What a tensor of the old network has become in the new one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Live (``tensor`` is set), constant (``lacking`` is not empty) or dead.

    Attributes:
        tensor: the tensor of the new network.
        array: values of a constant as the old network has them, for a batch of 1; None where
            weights are not carried over.
        lacking: names of the dead tensors without which only a constant was left.
    """

    tensor: Any = None
    array: NDArray[Any] | None = None
    lacking: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether the new network computes it."""
        return self.tensor is not None

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for every input of the network."""
        return bool(self.lacking)


DEAD = Value()


class ReviveError(Exception):
    """A constant is needed where no layer can stand for it: a channel must be kept after all.

    Args:
        tensors: the dead tensors of which one unit each must be kept.
        title: the layer that needs the constant.
    """

    def __init__(self, tensors: Iterable[str], title: str) -> None:
        super().__init__(f"{title}: a constant is left of {', '.join(tensors)}")
        self.tensors = tuple(dict.fromkeys(tensors))
        self.title = title


class FlattenError(Exception):
    """A nested model cannot stay one: its layers must be called in the model around it.

    Args:
        path: path of the nested model.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path
