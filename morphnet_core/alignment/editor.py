"""OnnxEditor: the channels of an ONNX file, for whoever prices changes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

from costmodel.calibration import Calibration
from costmodel.device import Device
from costmodel.editing import Channels, Widths
from costmodel.errors import InvalidInputError
from costmodel.protocols import CostModel, NetworkLaw
from costmodel.sizes import Sizes
from morphnet_core.alignment.alignment import checked_agreement
from morphnet_core.alignment.edit import cut, pad
from morphnet_core.alignment.evaluate import Evaluator, check_unit
from morphnet_core.alignment.freeze import paddable
from morphnet_core.alignment.search import Limits, best_counts
from morphnet_core.alignment.source import Source, read_source, write_model
from morphnet_core.groups import Grouping, Units
from morphnet_core.pricing import Pricer

#: After which the search for widths tries no other start: advice is waited for.
_SEARCH_S = 20.0


class OnnxEditor:
    """Opens ONNX files; a ``costmodel.editing.Editor``."""

    def open(
        self,
        path: Path,
        sizes: Sizes,
        *,
        cost: CostModel,
        device: Device | None,
        law: NetworkLaw | None,
    ) -> EditableOnnx:
        """Open a file; see ``Editor.open``."""
        check_unit(cost)
        chosen = device if device is not None else cost.device
        source = read_source(path, sizes)
        grouping = paddable(source)
        Pricer(grouping, cost, chosen)  # refuses what it cannot price
        # A law of whole networks alone says nothing of what a channel more costs.
        by_kernel = law if isinstance(law, Calibration) else None
        return EditableOnnx(
            source=source,
            sizes=sizes,
            evaluator=Evaluator(grouping, cost, chosen, by_kernel),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EditableOnnx:
    """An ONNX network whose channels can be changed.

    Attributes:
        source: the network as it is.
        sizes: of open dimensions.
        evaluator: prices it at other widths, and knows its groups.
    """

    source: Source
    sizes: Sizes
    evaluator: Evaluator

    @property
    def groups(self) -> tuple[Channels, ...]:
        """All its channels, in the network's order."""
        grouping = self._grouping
        count = len(grouping.groups)
        writers: list[list[str]] = [[] for _ in range(count)]
        through: list[list[str]] = [[] for _ in range(count)]
        readers: list[list[str]] = [[] for _ in range(count)]
        for layer in grouping.network.layers:
            read, written = (
                {item.group for name in names for item in grouping.members.get(name, ())}
                for names in (layer.inputs, layer.outputs)
            )
            for found, names in (
                (written - read, writers),
                (written & read, through),
                (read - written, readers),
            ):
                for group in found:
                    names[group].append(layer.name)
        return tuple(
            Channels(
                name=group.name,
                size=group.size,
                each=self._each(index, writers[index]),
                spans=self._spans(index),
                writers=tuple(writers[index]),
                through=tuple(through[index]),
                readers=tuple(readers[index]),
                frozen=group.frozen,
            )
            for index, group in enumerate(grouping.groups)
        )

    def _positions(self, group: int, names: Sequence[str]) -> tuple[int, ...]:
        """Channels of some tensors that a unit of a group stands for."""
        members = (item for name in names for item in self._grouping.members.get(name, ()))
        return tuple(dict.fromkeys(item.positions for item in members if item.group == group))

    def _each(self, group: int, writers: Sequence[str]) -> int:
        """The same of the first writer's result."""
        layers = self._grouping.network.layers
        written = (layer.outputs for layer in layers if layer.name in writers[:1])
        return max(self._positions(group, next(written, ())), default=1)

    def _spans(self, group: int) -> tuple[int, ...]:
        """The same of what kernels work on."""
        spans: dict[int, None] = {}
        for layer in self._grouping.network.layers:
            shares = 1 if layer.op.is_depthwise else layer.op.groups
            found = self._positions(group, (*layer.inputs, *layer.outputs))
            spans.update(dict.fromkeys(max(1, count // shares) for count in found))
        return tuple(spans) or (1,)

    def gains_ms(self, many: Sequence[Widths]) -> list[float]:
        """What each change saves by rule; minus infinity where a kernel would have no price."""
        counts = [self._counts(widths) for widths in many]
        now = self._grouping.full_counts
        found = [0.0] * len(many)
        alone: dict[int, list[int]] = {}
        together: list[int] = []
        for place, item in enumerate(counts):
            changed = np.flatnonzero(item != now)
            if len(changed) == 1:
                alone.setdefault(int(changed[0]), []).append(place)
            elif len(changed):
                together.append(place)
        for group, places in alone.items():
            before, *after = self.evaluator.part_totals(group, [now, *(counts[i] for i in places)])
            for place, total in zip(places, after, strict=True):
                found[place] = _gain(before.value, total.than(before))
        if together:
            before, *after = self.evaluator.totals([now, *(counts[i] for i in together)])
            for place, total in zip(together, after, strict=True):
                found[place] = _gain(before.value, total.than(before))
        return found

    def fast_widths(self) -> Widths:
        """Widths from those of now on that it is predicted to be fastest with."""
        counts = best_counts(self.evaluator, Limits(seconds=_SEARCH_S))
        return {
            group.name: int(count)
            for group, count in zip(self._grouping.groups, counts, strict=True)
            if count != group.size
        }

    def save(self, widths: Widths, path: Path) -> None:
        """Write it at other widths; see ``Editable.save``."""
        counts = self._counts(widths)
        now = self._grouping.full_counts
        if (counts >= now).all():
            model = pad(self.source, self._grouping, counts)
            checked_agreement(self.source, model, self.sizes)
        elif (counts <= now).all():
            alive = self._grouping.full()
            for group, count in zip(self._grouping.groups, counts.tolist(), strict=True):
                alive[group.start + count : group.start + group.size] = False
            model = cut(self.source, self._grouping, alive)
        else:
            message = "Some groups would grow and others shrink. Change them one after the other."
            raise InvalidInputError(message)
        write_model(model, path)

    @property
    def _grouping(self) -> Grouping:
        return self.evaluator.grouping

    def _counts(self, widths: Widths) -> Units:
        names = [group.name for group in self._grouping.groups]
        unknown = sorted(set(widths) - set(names))
        if unknown:
            message = f"The network {self.source.path} has no group of channels {unknown[0]!r}."
            raise InvalidInputError(message)
        sizes = self._grouping.full_counts.tolist()
        wanted = [widths.get(name, size) for name, size in zip(names, sizes, strict=True)]
        return np.array(wanted, dtype=np.intp)


def _gain(before: float, after: float) -> float:
    return before - after if after < inf else -inf
