"""Choosing by looking: of many choices of widths the one that does best before it is trained on.

Importances say what single channels are worth, to first order and each alone. What a network does
without all that goes is asked of the network itself: cut, its statistics taken anew, its loss on
data that it was not trained on. That takes a second where training takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.data import Data
from morphnet_core.groups import Alive, Block, Grouping, find_blocks
from morphnet_core.morphing.loop import cut
from morphnet_core.morphing.unfinished import Section
from morphnet_core.pricing import Pricer
from morphnet_core.projection import Projection, Removal, project, proposals
from morphnet_core.signals.source import as_numpy

#: What blocks lose, as multiples of what the loss without them says; of the choices made by each,
#: the best is taken.
LADDER = (4.0, 2.0, 1.0, 0.5, 0.25)
#: Least rise of the loss that anything is measured by.
_LEAST = 1e-3
#: Blocks that are rated at most.
MOST_BLOCKS = 256
#: Most that a block loses, as a share of all importance: what is not rated, and goes last, or what
#: leaves a network whose loss is no number.
_MOST = 10.0


def loss_of_cut(
    model: Any,
    kept: Alive,
    grouping: Grouping,
    data: Data,
    losses: Mapping[str, Any],
    *,
    constants: bool = True,
) -> float:
    """What a network's loss is right after what goes was cut out, penalties of weights left out.

    Args:
        model: trained; not changed.
        kept: ``(units,)`` what stays.
        grouping: of the model.
        data: statistics are of its training samples, the loss is of its validation data.
        losses: as ``losses_of`` tells them.
        constants: as for ``cut``.
    """
    return loss_of(cut(model, kept, grouping, data, constants=constants), data, losses)


def loss_of(model: Any, data: Data, losses: Mapping[str, Any]) -> float:
    """What a network's loss is on validation data, penalties of weights left out.

    Args:
        model: compiled anew.
        data: with validation data.
        losses: as ``losses_of`` tells them.
    """
    # Layer by layer: a graph would be traced for each network, and used once.
    model.compile(keras.optimizers.SGD(0.0), **{**losses, "run_eagerly": True})
    whole = data.metrics(model)["loss"]
    # Weights that are fewer have smaller penalties, which says nothing of what they do.
    return whole - sum(float(as_numpy(item)) for item in model.losses)


@dataclass(slots=True, kw_only=True)
class Looking:
    """Chooses widths as ``project`` does, but the first time by trying many.

    Later calls, when a clock has corrected the budget a little, project by the importances whose
    widths were best, and by what blocks were then said to lose.

    Attributes:
        judge: the loss with these units alone.
        count: how many choices of widths are made; those that are the same are tried once.
        seed: of the choices.
        section: where losses are kept: what was tried is not tried again.
        say: who is told.
        blocks: how many blocks are rated, at most: whole branches that may go. Further ones go
            only where the budget cannot be kept with them. 0 keeps all of them.
    """

    judge: Callable[[Alive], float]
    count: int
    seed: int
    section: Section
    say: Callable[[str], None]
    blocks: int = 0
    _losses: dict[str, float] = field(default_factory=dict)
    _found: _Choice | None = None

    def __post_init__(self) -> None:
        self._losses.update(self.section.state.values.get("losses", {}))

    def __call__(
        self, pricer: Pricer, importance: NDArray[np.floating], target: float, **options: Any
    ) -> Projection:
        """Choose widths; takes what ``project`` takes.

        Raises:
            InvalidInputError: as ``project``, and if a loss cannot be saved.
        """
        if self._found is not None:
            found = self._found
            return project(pricer, found.importance, target, **found.blocks, **options)
        blocks = self._blocks(pricer, importance, target, options) if self.blocks else {}
        tried = [
            (self._loss(item.projection.alive), item)
            for item in proposals(
                pricer,
                importance,
                target,
                count=self.count,
                seed=self.seed,
                **blocks,
                **options,
            )
        ]
        loss, best = min(tried, key=lambda pair: pair[0])
        self._found = _Choice(importance=best.importance, blocks=blocks)
        if self.count > 1:
            self.say(
                f"looked at {len(tried)} choices of widths: a loss of {loss:.4g} before training, "
                f"{tried[0][0]:.4g} by the importances as they are"
            )
        return best.projection

    def _blocks(
        self,
        pricer: Pricer,
        importance: NDArray[np.floating],
        target: float,
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Options of ``project``: what blocks lose, by which it makes the best of a few choices.

        None where all stay. The loss without a block becomes importance at the rate at which the
        choice of widths alone loses both. What removals leave of the budget is spent on narrow
        blocks where that loses less than nothing in their place.
        """
        grouping = pricer.grouping
        alive = options.get("start")
        alive = grouping.full() if alive is None else alive
        blocks = find_blocks(grouping)
        if not blocks:
            self.say("there is no block that the network could do without")
            return {}
        plain = _possible(pricer, importance, target, options)
        whole = self._loss(alive)
        rated = blocks[: self.blocks]
        without = [self._loss(block.without(grouping, alive)) for block in rated]
        unrated = [Removal(groups=item.groups, lost=_MOST) for item in blocks[self.blocks :]]
        rate = 1.0
        if plain is not None:
            apart = self._loss(plain.alive) - whole
            rate = max(1.0 - float(plain.value), 0.0) / max(apart, _LEAST)
        tried: list[tuple[float, Projection, dict[str, Any]]] = []
        if plain is not None:
            tried.append((self._loss(plain.alive), plain, {}))  # which takes a tie
        for rung in LADDER:
            lost = [
                Removal(groups=block.groups, lost=min(rung * rate * max(loss - whole, 0.0), _MOST))
                for block, loss in zip(rated, without, strict=True)
            ]
            for refill in (False, True):
                given: dict[str, Any] = {"removals": (*lost, *unrated), "refill": refill}
                found = project(pricer, importance, target, **given, **options)
                tried.append((self._loss(found.alive), found, given))
                if not _gone(blocks, found):
                    break  # there is nothing to fill
        loss, best, chosen = min(tried, key=lambda item: item[0])
        beside = f", {tried[0][0]:.4g} with all of them" if plain is not None else ""
        self.say(
            f"rated {len(rated)} blocks: a loss of {loss:.4g} before training without "
            f"{', '.join(_gone(blocks, best)) or 'any'}{beside}"
        )
        return chosen

    def _loss(self, kept: Alive) -> float:
        key = blake2b(np.packbits(kept).tobytes(), digest_size=8).hexdigest()
        if key not in self._losses:
            found = float(self.judge(kept))
            self._losses[key] = found if np.isfinite(found) else float(np.finfo(float).max)
            self.section.save({"losses": self._losses})
        return self._losses[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What was best.

    Attributes:
        importance: ``(units,)`` that widths come from.
        blocks: options of ``project`` that say what blocks lose; none if all stay.
    """

    importance: NDArray[np.float64]
    blocks: Mapping[str, Any]


def _gone(blocks: Sequence[Block], found: Projection) -> list[str]:
    """Names of the blocks of which nothing is left; one within another may have the same."""
    names = (block.name for block in blocks if not found.counts[list(block.groups)].any())
    return list(dict.fromkeys(names))


def _possible(
    pricer: Pricer, importance: NDArray[np.floating], target: float, options: Mapping[str, Any]
) -> Projection | None:
    """Widths alone; None where no widths are cheap enough."""
    try:
        return project(pricer, importance, target, **options)
    except InvalidInputError:
        return None
