"""Choosing a resolution by looking: the network at each, cut to the budget, judged by its loss.

Smaller images cost less everywhere, so that a budget buys wider layers. Which of both is worth more
is asked of the trained network: at each resolution widths are chosen that the budget pays for, what
goes is cut out, statistics are taken anew, and the loss on resized validation images decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from costmodel.errors import InvalidInputError
from costmodel.figures import quantity
from costmodel.readers.keras import read_keras
from morphnet_core.budget.callback import in_unit
from morphnet_core.budget.taylor import losses_of, taylor_importance
from morphnet_core.data import Data
from morphnet_core.data.sized import at_size as data_at_size
from morphnet_core.data.sized import image_size
from morphnet_core.groups import Grouping, find_groups
from morphnet_core.morphing.clock import Clock
from morphnet_core.morphing.course import Course
from morphnet_core.morphing.identity import cost_label, data_digest, model_digest
from morphnet_core.morphing.looking import loss_of_cut
from morphnet_core.morphing.sample import judged_by, sizes_like
from morphnet_core.morphing.unfinished import Unfinished
from morphnet_core.pricing import Cost, Pricer
from morphnet_core.projection import project
from morphnet_core.signals.copying import copied
from morphnet_core.surgery.sized import at_size as model_at_size


def at_best_resolution(course: Course, model: Any, heights: Sequence[int]) -> tuple[Course, Any]:
    """A course and its model at the resolution that does best.

    What was found is saved with what else the course has done. The budget stays what it is at the
    resolution of the data: a share becomes a number, by the clock where there is one.

    Args:
        course: at the resolution of its data.
        model: its seed.
        heights: allowed ones, in pixels.

    Raises:
        InvalidInputError: as ``Resolutions.best``; and as ``Course.run``.
        ModelFormatError: as ``Resolutions.best``.
    """
    wanted = course.target if course.target_ms is None else course.target_ms
    if wanted is None:
        return course, model  # which then says what is missing
    options = course.options.get("grouping")
    if isinstance(options, Grouping):
        message = "Groups are of one resolution. With resolutions, give options of find_groups."
        raise InvalidInputError(message)
    own = dict(options or {})
    unfinished = Unfinished.of(course.out, course.save_every_s)
    pricer = Pricer(find_groups(read_keras(model, course.sizes), **own), course.cost)
    belongs = {
        "seed network": model_digest(model),
        "data": data_digest(course.data),
        "cost": cost_label(pricer.cost),
        "target": wanted,
        "resolutions": list(heights),
    }
    section = unfinished.section("resolution", belongs)
    if not section.done:
        looked = Resolutions(
            data=course.data, cost=pricer.cost, compiled=course.compiled, grouping=own,
            say=course.say,
        )  # fmt: skip
        size = looked.best(model, in_unit(pricer, wanted), heights)
        number = as_number(wanted, model, pricer, course.timer(pricer.cost))
        section.save({"size": list(size), "target": number}, done=True)
    high, wide = section.state.values["size"]
    data = data_at_size(course.data, (high, wide))
    small = model_at_size(model, (high, wide))
    found = replace(
        course,
        data=data,
        target_ms=None,
        target=float(section.state.values["target"]),
        sizes=sizes_like(data, small, {}),
        resized=True,
    )
    return found, small


def as_number(target: float | str, model: Any, pricer: Pricer, clock: Clock | None) -> float:
    """A target that holds at any resolution: a share is one of the seed's cost.

    Args:
        target: a number, or a share such as ``"50%"``.
        model: the seed.
        pricer: of it.
        clock: whose milliseconds a share is of; None for the prices.
    """
    if not isinstance(target, str):
        return float(target)
    seed = pricer.seed if clock is None else clock([model])[0]
    return in_unit(pricer, target) / pricer.seed * seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolutions:
    """Resolutions that a network may have.

    Attributes:
        data: at the network's own.
        cost: prices.
        compiled: gets a model and its steps, and compiles it.
        grouping: options of ``find_groups``.
        say: who is told.
    """

    data: Data
    cost: Cost
    compiled: Callable[[Any, int], Any]
    grouping: Mapping[str, Any]
    say: Callable[[str], None]

    def best(self, model: Any, target: float, heights: Sequence[int]) -> tuple[int, int]:
        """Height and width at which the loss is least.

        Args:
            model: trained; not changed.
            target: greatest cost, in the unit of the prices.
            heights: in pixels; widths are in proportion.

        Raises:
            InvalidInputError: if there is none, or the budget cannot be kept at any of them.
            ModelFormatError: if the network does not work at one of them.
        """
        sizes = [self._size(height) for height in heights]
        found: dict[tuple[int, int], float] = {}
        refused: list[str] = []
        for size in dict.fromkeys(sizes):
            try:
                found[size] = self._loss(model, target, size)
            except InvalidInputError as error:
                refused.append(f"{size[0]} by {size[1]}: {error}")
        if not found:
            message = f"At no resolution is the budget kept. {' '.join(refused)}"
            raise InvalidInputError(message)
        best = min(found, key=lambda size: found[size])
        listing = ", ".join(f"{high} by {wide}: {loss:.4g}" for (high, wide), loss in found.items())
        self.say(f"loss before training at images of {listing}; {best[0]} by {best[1]} is taken")
        return best

    def _size(self, height: int) -> tuple[int, int]:
        high, wide = image_size(self.data)
        if height < 1:
            message = f"A resolution is a number of pixels from 1. Received: {height!r}."
            raise InvalidInputError(message)
        return height, max(1, round(height * wide / high))

    def _loss(self, model: Any, target: float, size: tuple[int, int]) -> float:
        data = data_at_size(self.data, size)
        here = model_at_size(model, size)
        sizes = sizes_like(data, here, {})
        pricer = Pricer(find_groups(read_keras(here, sizes), **self.grouping), self.cost)
        losses = losses_of(self.compiled(copied(here), 1))
        worth = taylor_importance(pricer.grouping, here, data, **losses)
        found = project(pricer, worth, target)
        loss = loss_of_cut(here, found.alive, pricer.grouping, judged_by(data), losses)
        self.say(
            f"images of {size[0]} by {size[1]}: {quantity(pricer.seed, pricer.unit)} whole, "
            f"{quantity(found.cost, pricer.unit)} cut, a loss of {loss:.4g} before training"
        )
        return loss
