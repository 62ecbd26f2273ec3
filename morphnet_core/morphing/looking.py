"""Choosing by looking: of many choices of widths the one that does best before it is trained on.

Importances say what single channels are worth, to first order and each alone. What a network does
without all that goes is asked of the network itself: cut, its statistics taken anew, its loss on
data that it was not trained on. That takes a second where training takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from morphnet_core.data import Data
from morphnet_core.groups import Alive, Grouping
from morphnet_core.morphing.loop import cut
from morphnet_core.morphing.unfinished import Section
from morphnet_core.pricing import Pricer
from morphnet_core.projection import Projection, project, proposals
from morphnet_core.signals.source import as_numpy


def loss_of_cut(
    model: Any, kept: Alive, grouping: Grouping, data: Data, losses: Mapping[str, Any]
) -> float:
    """What a network's loss is right after what goes was cut out, penalties of weights left out.

    Args:
        model: trained; not changed.
        kept: ``(units,)`` what stays.
        grouping: of the model.
        data: statistics are of its training samples, the loss is of its validation data.
        losses: as ``losses_of`` tells them.
    """
    return loss_of(cut(model, kept, grouping, data), data, losses)


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
    widths were best.

    Attributes:
        judge: the loss with these units alone.
        count: how many choices are made; those that are the same are tried once.
        seed: of the choices.
        section: where losses are kept: what was tried is not tried again.
        say: who is told.
    """

    judge: Callable[[Alive], float]
    count: int
    seed: int
    section: Section
    say: Callable[[str], None]
    _losses: dict[str, float] = field(default_factory=dict)
    _importance: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        self._losses.update(self.section.state.values.get("losses", {}))

    def __call__(
        self, pricer: Pricer, importance: NDArray[np.floating], target: float, **options: Any
    ) -> Projection:
        """Choose widths; takes what ``project`` takes.

        Raises:
            InvalidInputError: as ``project``, and if a loss cannot be saved.
        """
        if self._importance is not None:
            return project(pricer, self._importance, target, **options)
        tried = [
            (self._loss(item.projection.alive), item)
            for item in proposals(
                pricer, importance, target, count=self.count, seed=self.seed, **options
            )
        ]
        loss, best = min(tried, key=lambda pair: pair[0])
        self._importance = best.importance
        self.say(
            f"looked at {len(tried)} choices of widths: a loss of {loss:.4g} before training, "
            f"{tried[0][0]:.4g} by the importances as they are"
        )
        return best.projection

    def _loss(self, kept: Alive) -> float:
        key = blake2b(np.packbits(kept).tobytes(), digest_size=8).hexdigest()
        if key not in self._losses:
            found = self.judge(kept)
            self._losses[key] = found if np.isfinite(found) else float(np.finfo(float).max)
            self.section.save({"losses": self._losses})
        return self._losses[key]
