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
from costmodel.readers.keras import input_shapes, read_keras
from costmodel.sizes import BATCH, Sizes, spelled_out
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
from morphnet_core.morphing.sample import judged_by, sizes_like, two_batches
from morphnet_core.morphing.unfinished import Unfinished
from morphnet_core.pricing import Cost, Pricer
from morphnet_core.projection import project
from morphnet_core.projection.device import milliseconds
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
    wanted = _wanted(course)
    if wanted is None:
        return course, model  # which then says what is missing
    looked = _resolutions(course)
    unfinished = Unfinished.of(course.out, course.save_every_s)
    pricer = looked.pricer(model, course.sizes)
    belongs = {
        "seed network": model_digest(model),
        "data": data_digest(course.data),
        "cost": cost_label(pricer.cost),
        "target": wanted,
        "resolutions": list(heights),
    }
    section = unfinished.section("resolution", belongs)
    if not section.done:
        clock = course.timer(pricer.cost)
        number, priced = budget_of(wanted, model, pricer, clock, beyond=course.grow > 1.0)
        size = replace(looked, cost=pricer.cost).best(model, priced, heights)
        section.save({"size": list(size), "target": number}, done=True)
    high, wide = section.state.values["size"]
    return _at(course, model, (high, wide), float(section.state.values["target"]))


def at_least_resolution(course: Course, model: Any, heights: Sequence[int]) -> tuple[Course, Any]:
    """A course and its model at the least resolution, on two batches: to be tried beforehand.

    Args:
        course: at the resolution of its data.
        model: its seed.
        heights: allowed ones, in pixels.

    Raises:
        InvalidInputError: if there is none, or the budget is none.
        ModelFormatError: if the network does not work at it.
    """
    wanted = _wanted(course)
    if wanted is None:
        return course, model
    looked = _resolutions(course)
    pricer = looked.pricer(model, course.sizes)
    number, _ = budget_of(wanted, model, pricer, None, beyond=course.grow > 1.0)
    few = replace(course, data=two_batches(course.data))
    return _at(few, model, min(looked.size(height) for height in heights), number)


def budget_of(
    target: float | str, model: Any, pricer: Pricer, clock: Clock | None, *, beyond: bool = False
) -> tuple[float, float]:
    """A target as numbers that hold at any resolution: by the clock, and by the prices.

    Args:
        target: a number, by the clock where there is one, or a share of the seed's cost.
        model: the seed.
        pricer: of it.
        clock: times it once; None to go by the prices, where both numbers are the same.
        beyond: whether it may be above the seed's cost.

    Raises:
        InvalidInputError: if it is no target, or a clock is to keep a cost that is no time.
    """
    if clock is None:
        priced = in_unit(pricer, target, beyond=beyond)
        return priced, priced
    if pricer.unit != "ms":
        message = (
            f"Resolutions are compared at one budget, and a clock keeps none of {pricer.unit}. "
            "Give prices in ms, or no clock."
        )
        raise InvalidInputError(message)
    seed = clock([model])[0]
    number = milliseconds(target, seed)
    return number, in_unit(pricer, number / seed * pricer.seed, beyond=beyond)


def sizes_at(model: Any, data: Data, sizes: Sizes) -> Sizes:
    """Values of open dimensions at another resolution: of the batch, if it was given.

    Args:
        model: at that resolution, with one input of images.
        data: likewise.
        sizes: at the old one.
    """
    shapes = input_shapes(model)
    first = {BATCH, *(f"{item.name}:0" for item in shapes)}
    given = {k: n for k, n in spelled_out(model.name, shapes, sizes).items() if k in first}
    return sizes_like(data, model, given)


def _wanted(course: Course) -> float | str | None:
    return course.target if course.target_ms is None else course.target_ms


def _resolutions(course: Course) -> Resolutions:
    """Those of a course.

    Raises:
        InvalidInputError: if its groups are given.
    """
    options = course.options.get("grouping")
    if isinstance(options, Grouping):
        message = "Groups are of one resolution. With resolutions, give options of find_groups."
        raise InvalidInputError(message)
    return Resolutions(
        data=course.data,
        cost=course.cost,
        compiled=course.compiled,
        grouping=dict(options or {}),
        sizes=course.sizes,
        say=course.say,
    )


def _at(course: Course, model: Any, size: tuple[int, int], target: float) -> tuple[Course, Any]:
    """A course and its model at a resolution, and the budget that it has there."""
    data = data_at_size(course.data, size)
    small = model_at_size(model, size)
    found = replace(
        course,
        data=data,
        target_ms=None,
        target=target,
        sizes=sizes_at(small, data, course.sizes),
        resized=True,
    )
    return found, small


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolutions:
    """Resolutions that a network may have.

    Attributes:
        data: at the network's own.
        cost: prices.
        compiled: gets a model and its steps, and compiles it.
        grouping: options of ``find_groups``.
        sizes: values of open dimensions at the network's own resolution.
        say: who is told.
    """

    data: Data
    cost: Cost
    compiled: Callable[[Any, int], Any]
    grouping: Mapping[str, Any]
    sizes: Sizes
    say: Callable[[str], None]

    def pricer(self, model: Any, sizes: Sizes) -> Pricer:
        """Prices of a network at one of the resolutions.

        Args:
            model: it.
            sizes: values of its open dimensions.
        """
        return Pricer(find_groups(read_keras(model, sizes), **self.grouping), self.cost)

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
        sizes = [self.size(height) for height in heights]
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

    def size(self, height: int) -> tuple[int, int]:
        """Height and width in pixels, in the proportion of the data.

        Raises:
            InvalidInputError: if there are no such images.
        """
        high, wide = image_size(self.data)
        if height < 1:
            message = f"A resolution is a number of pixels from 1. Received: {height!r}."
            raise InvalidInputError(message)
        return height, max(1, round(height * wide / high))

    def _loss(self, model: Any, target: float, size: tuple[int, int]) -> float:
        data = data_at_size(self.data, size)
        here = model_at_size(model, size)
        pricer = self.pricer(here, sizes_at(here, data, self.sizes))
        losses = losses_of(self.compiled(copied(here), 1))
        worth = taylor_importance(pricer.grouping, here, data, **losses)
        found = project(pricer, worth, target)
        loss = loss_of_cut(here, found.alive, pricer.grouping, judged_by(data), losses)
        self.say(
            f"images of {size[0]} by {size[1]}: {quantity(pricer.seed, pricer.unit)} whole, "
            f"{quantity(found.cost, pricer.unit)} cut, a loss of {loss:.4g} before training"
        )
        return loss
