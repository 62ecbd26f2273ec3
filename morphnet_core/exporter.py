"""StructureExporter: writes the structure that a regularizer proposes, as the original did.

Class and methods are called as in the original's ``tools/structure_exporter.py``; ``tensors`` and
``populate_tensor_values`` are gone, since Keras variables have their values at hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError
from morphnet_core.groups import Grouping
from morphnet_core.groups.convert import structure_of
from morphnet_core.structure import Structure, shared_folder

#: Folder of the original's files, below the one that is given.
SUBDIRECTORY = "learned_structure"


class ProposesStructure(Protocol):
    """Whatever knows a structure at present, a regularizer for instance."""

    def structure(self) -> Structure:
        """The structure at present."""


class StructureExporter:
    """Exports which channels every layer keeps.

    Args:
        source: a regularizer (anything with a ``structure()``), or a grouping.
        alive: with a grouping, which of its units are alive.
        remove_common_prefix: whether a folder that all layer names begin with is left out.

    Raises:
        InvalidInputError: if a grouping is given without ``alive``, or a regularizer with it.
    """

    def __init__(
        self,
        source: ProposesStructure | Grouping,
        alive: NDArray[np.bool_] | None = None,
        *,
        remove_common_prefix: bool = False,
    ) -> None:
        if isinstance(source, Grouping) == (alive is None):
            message = (
                "A StructureExporter is made of a regularizer alone, or of a grouping and which of "
                f"its units are alive. Received: {type(source).__name__} and "
                f"{'no' if alive is None else 'an'} array of alive units."
            )
            raise InvalidInputError(message)
        self._source = source
        self._alive = np.zeros(0, dtype=np.bool_) if alive is None else alive
        self._remove_common_prefix = remove_common_prefix

    def structure(self) -> Structure:
        """The whole structure at present, kept positions included."""
        if isinstance(self._source, Grouping):
            return structure_of(self._source, self._alive)
        return self._source.structure()

    def get_alive_counts(self) -> dict[str, int]:
        """Alive channels at present by operation name, e.g. ``{"conv1/Conv2D": 25}``."""
        counts = self.structure().counts
        cut = shared_folder(tuple(counts)) if self._remove_common_prefix else 0
        return {name[cut:]: count for name, count in counts.items()}

    def save_alive_counts(self, file: str | Path | IO[str]) -> None:
        """Write the counts alone, as the original did: sorted, indented by 2.

        Args:
            file: an open text file, or the path of one, which is replaced.

        Raises:
            InvalidInputError: if the file cannot be written.
        """
        text = json.dumps(self.get_alive_counts(), indent=2, sort_keys=True) + "\n"
        if isinstance(file, str | Path):
            write_lines(Path(file), [text.encode()])
        else:
            file.write(text)

    def create_file_and_save_alive_counts(self, directory: str | Path, step: int) -> Path:
        """Write the structure to ``{directory}/learned_structure/alive_{step}``.

        The file has the counts at its top level, as the original's has, and under ``"morphnet"``
        what is needed to carry weights over; with ``remove_common_prefix`` the counts alone.

        Returns:
            The file's path.

        Raises:
            InvalidInputError: if the step is negative or the file cannot be written.
        """
        if step < 0:
            message = f"The step of an exported structure is counted from 0. Received: {step}."
            raise InvalidInputError(message)
        path = Path(directory) / SUBDIRECTORY / f"alive_{step}"
        if self._remove_common_prefix:
            self.save_alive_counts(path)
            return path
        return self.structure().save(path)
