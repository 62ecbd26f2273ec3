"""Pricing: what ``predict`` takes beside a model, and all that builds on it takes as well."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypedDict, TypeVar

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.protocols import CostModel, NetworkLaw, Runner
from costmodel.registry import Option
from costmodel.sizes import Sizes
from costmodel.table import LatencyTable
from costmodel.uses.matching import Choice
from costmodel.uses.models import Model, model_files
from costmodel.uses.tables import Table, calibration_of, cost_of, open_table

P = ParamSpec("P")
R = TypeVar("R")


class Terms(TypedDict, total=False):
    """The keywords of ``predict``, which the uses around it hand on; see ``Pricing``."""

    cost: str | CostModel
    donors: Table | Sequence[Table]
    runner: str | Runner | None
    options: Mapping[str, Option] | None
    threads: int | None
    sizes: Sizes | None
    calibrated: bool
    example: Any
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """How models are priced: a table and the terms of its use.

    Attributes:
        table: opened; None without one.
        cost: a cost model, or a name as for ``cost_of``.
        donors: tables of other devices that help the table's regression.
        runner: to ask for kernels or to time with; None for the one that made the table.
        options: of the runner.
        threads: the same as ``options={"threads": ...}``.
        sizes: values of open dimensions.
        calibrated: whether sums of kernels are corrected by networks timed in the table.
        example: what a PyTorch module is called with.
        signature: which entry of a file that has several; empty for the usual one.
    """

    table: LatencyTable | None = None
    cost: str | CostModel = "regression"
    donors: Table | Sequence[Table] = ()
    runner: str | Runner | None = None
    options: Mapping[str, Option] | None = None
    threads: int | None = None
    sizes: Sizes | None = None
    calibrated: bool = True
    example: Any = None
    signature: str = ""

    @classmethod
    def of(cls, table: Table | None, terms: Terms) -> Pricing:
        """Terms with their table opened; nothing is fitted yet.

        Args:
            table: a ``LatencyTable``, its file, or the name of a shipped profile.
            terms: each has a default.

        Raises:
            TableFormatError: if the file is not a table.
            InvalidInputError: if there is neither a file nor a shipped profile of this name.
        """
        return cls(table=open_table(table) if table is not None else None, **terms)

    @property
    def choice(self) -> Choice:
        """The runner that was asked for."""
        return Choice.of(self.runner, self.options, self.threads)

    @property
    def device(self) -> Device | None:
        """Whose numbers these are: the table's, else the cost model's; None without either.

        Raises:
            InvalidInputError: without a table, for a cost that needs one.
        """
        return self.cost_model().device if self.table is None else self.table.device

    def cost_model(self) -> CostModel:
        """The cost model; of a table it is fitted here, which takes seconds.

        Raises:
            InvalidInputError: as ``cost_of``.
            TableFormatError: if a donor's file is not a table.
        """
        return cost_of(self.cost, self.table, self.donors)

    def law(self, cost: CostModel) -> NetworkLaw | None:
        """What brings sums of kernels to networks; None where they are left alone.

        Args:
            cost: prices the kernels.
        """
        return calibration_of(self.table, cost) if self.calibrated else None

    def files(self, models: Sequence[Model]) -> AbstractContextManager[tuple[list[Path], Sizes]]:
        """The models as files, and the sizes still to be given to these; see ``model_files``.

        Args:
            models: of any format.
        """
        return model_files(models, self.sizes or {}, example=self.example, signature=self.signature)

    def require_threads(self) -> None:
        """Raise ``InvalidInputError`` if the table is of other threads than those asked for."""
        table = self.table
        if self.threads is not None and table is not None and self.threads != table.device.threads:
            message = (
                f"The table is of {table.device.threads} threads, --threads is {self.threads}. "
                "Give a table of that many threads, or leave --threads out."
            )
            raise InvalidInputError(message)


def spelled_out(use: Callable[P, R]) -> Callable[P, R]:
    """The same function, whose help names every keyword of ``Terms`` with its default.

    Args:
        use: its last parameter is ``**terms``.
    """
    own = inspect.signature(use)
    terms = inspect.signature(Pricing).parameters
    shown = [*own.parameters.values()][:-1] + [terms[name] for name in Terms.__annotations__]
    use.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
    return use
