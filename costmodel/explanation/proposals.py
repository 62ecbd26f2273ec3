"""Proposals: changes of a network that may bring milliseconds back, guessed by rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite
from typing import Literal

from costmodel.editing import Channels, Editable
from costmodel.explanation.losses import LAYOUT_KINDS, Loss, Matter, Suspect
from costmodel.explanation.steps import Step, above, below, by_group, own_block
from costmodel.kinds import POOL_KINDS, RELABELS
from costmodel.network import Layer, Network
from costmodel.op import SESSION, Op
from costmodel.prediction import Prediction

Kind = Literal["padding", "fast path", "step", "block", "memory", "cache", "layout"]

#: Widths that blocked kernels ask of what they read, whatever their block.
_ALIGNMENT = 4
#: What is taken from layers that memory binds: there a block more or less is hard to measure.
_QUARTER = 0.75
#: Padding keeps the function, so it is preferred where it gains this share of what cutting does.
_WORTH_KEEPING = 0.8
#: Layers on either side of a transposition that may belong to it.
_REACH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A change of a network.

    Attributes:
        kind: what is the matter that it mends.
        layers: of the file, that it is about.
        why: what is the matter, one clause.
        todo: what to do, one clause.
        widths: channels before and after, by group; empty where no channels change.
        skip: a tensor, and the one of the same size that is read instead; None to skip nothing.
        keeps_function: whether the network computes the same afterwards.
        guess_ms: what it saves by rule.
    """

    kind: Kind
    layers: tuple[str, ...]
    why: str
    todo: str
    widths: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    skip: tuple[str, str] | None = None
    keeps_function: bool = False
    guess_ms: float = 0.0


def propose(
    editable: Editable | None,
    losses: Sequence[Loss],
    steps: Sequence[Step],
    block: int,
) -> list[Proposal]:
    """Changes of channels that are guessed to save something; the best of each group.

    Args:
        editable: the network; None where its channels cannot be changed.
        losses: what is the matter with it.
        steps: of its groups.
        block: channels of one step.
    """
    if editable is None:
        return []
    suspects = {item.matter: item.suspects for item in losses}
    stairs = by_group(steps)
    free = [group for group in editable.groups if not group.frozen and group.size > 1]
    tried = [item for group in free for item in _of_group(group, suspects, stairs, block)]
    gains = editable.gains_ms([{name: new for name, (_, new) in p.widths.items()} for p in tried])
    guessed = [replace(p, guess_ms=ms) for p, ms in zip(tried, gains, strict=True)]
    found = list(_best(guessed))
    padding = _padding(editable, free, block)
    return [*([padding] if padding else []), *found]


def _padding(editable: Editable, free: Sequence[Channels], block: int) -> Proposal | None:
    """All groups at the widths that are fastest together; None where all fill their blocks."""
    odd = [group for group in free if group.size % own_block(group, block)]
    wanted = editable.fast_widths() if odd else {}
    if not wanted:
        return None
    sizes = {group.name: group.size for group in free}
    (gain,) = editable.gains_ms([wanted])
    plural = "s" if len(wanted) > 1 else ""
    return Proposal(
        kind="padding",
        layers=tuple(name for group in free if group.name in wanted for name in group.writers),
        why=f"channels of {len(wanted)} group{plural} are between widths that run fast",
        todo="pad them with zero channels; the function stays (--fix writes it)",
        widths={name: (sizes[name], new) for name, new in wanted.items()},
        keeps_function=True,
        guess_ms=gain,
    )


def _best(guessed: Iterable[Proposal]) -> Iterator[Proposal]:
    """The best change of each group; one that keeps the function where it is nearly as good."""
    groups: dict[str, list[Proposal]] = {}
    for item in guessed:
        if isfinite(item.guess_ms) and item.guess_ms > 0:
            groups.setdefault(next(iter(item.widths)), []).append(item)
    for items in groups.values():
        best = max(items, key=lambda item: item.guess_ms)
        kept = [item for item in items if item.keeps_function]
        mended = max(kept, key=lambda item: item.guess_ms, default=None)
        if mended is not None and mended.guess_ms >= _WORTH_KEEPING * best.guess_ms:
            best = mended
        yield best


def _of_group(
    group: Channels,
    suspects: Mapping[Matter, Sequence[Suspect]],
    stairs: Mapping[str, Step],
    block: int,
) -> Iterator[Proposal]:
    """Changes to try of one group: of the first matter that it has to do with."""
    block = own_block(group, block)
    causes = frozenset((*group.readers, *group.through))
    odd = _first(suspects.get("fast path", ()), causes)
    if odd is not None:
        yield from _to_fast(group, odd, block)
        return
    step = stairs.get(group.name)
    past = group.size % block
    if step is not None and step.fewer and 0 < past <= block // 2:
        yield _step_down(group, step, block)
        return
    for matter in ("cache", "memory"):
        slow = _first(suspects.get(matter, ()), group.layers)
        if slow is not None:
            yield _narrower(group, matter, slow, block)
            return
    less = below(group.size, block)
    if less >= group.size / 2:
        short = (block - past) % block * group.each
        full = f"end {short} before a block is full" if short else "fill their blocks"
        why = f"nothing: its {group.size * group.each} channels {full}"
        yield _changed(group, "block", less, why)


def _first(suspects: Sequence[Suspect], layers: frozenset[str]) -> Suspect | None:
    """The suspect of most milliseconds among some layers."""
    return next((item for item in suspects if layers.intersection(item.layers)), None)


def _to_fast(group: Channels, odd: Suspect, block: int) -> Iterator[Proposal]:
    """To the next widths that a fast kernel takes, up and down."""
    for multiple in sorted({min(_ALIGNMENT, block), block}):
        past = group.size % multiple
        if not past:
            continue
        widths = [above(group.size, multiple)]
        if past <= max(_ALIGNMENT, block // 2):  # cutting more is no matter of the path
            widths.append(group.size - past)
        for width in widths:
            if width:
                yield _changed(group, "fast path", width, f"{_name(odd)}: {odd.why}")


def _step_down(group: Channels, step: Step, block: int) -> Proposal:
    more = ""
    if isfinite(step.cost_ms) and step.cost_ms > 0:
        more = f"; up to {step.more} cost {step.cost_ms:.2g} ms more"
    plural = "are" if step.past > 1 else "is"
    each = block * group.each
    why = f"{step.past} of its {step.channels} channels {plural} past a step of {each}"
    found = _changed(group, "step", below(group.size, block), why)
    return replace(found, todo=found.todo + more)


def _narrower(group: Channels, matter: Kind, slow: Suspect, block: int) -> Proposal:
    wanted = int(_QUARTER * group.size)
    width = max(1, wanted // block * block or wanted)
    return _changed(group, matter, width, f"{_name(slow)}: {slow.why}")


def _changed(group: Channels, kind: Kind, width: int, why: str) -> Proposal:
    keeps = width > group.size
    how = "; padded with zeros, the function stays" if keeps else ""
    return Proposal(
        kind=kind,
        layers=group.writers or (group.name,),
        why=why,
        todo=f"{width * group.each} channels instead of {group.size * group.each}{how}",
        widths={group.name: (group.size, width)},
        keeps_function=keeps,
    )


def _name(suspect: Suspect) -> str:
    return suspect.layers[0] if suspect.layers else suspect.name


def propose_skips(written: Network, executed: Network, prediction: Prediction) -> list[Proposal]:
    """Layers of unchanged size that force layout changes, or are some, each to be left out.

    Args:
        written: the network's layers as the file has them.
        executed: its kernels.
        prediction: of these.
    """
    prices = {layer.name: layer.price for layer in prediction.layers}
    wiring = _Wiring(written.layers)
    around = _Wiring(executed.layers)
    found: dict[tuple[str, str], Proposal] = {}
    for layer in executed.layers:
        if layer.op.kind == SESSION or not layer.covers:
            continue
        moves = layer.op.kind in LAYOUT_KINDS
        beside = [] if moves or _has_blocked_kernel(layer.op) else around.conversions(layer)
        if not moves and not beside:
            continue
        chain = wiring.chain(layer.covers, reach=_REACH if moves else 0)
        if chain is None:
            continue
        kernels = [layer, *beside]
        if moves:
            what = f"{layer.covers[0]} only moves elements"
        else:
            what = f"{layer.covers[0]} ({layer.op.kind}) works on the plain layout alone"
        old, new, names = chain
        guess = sum(prices.get(item.name, 0.0) for item in kernels)
        if (old, new) in found:
            guess += found[old, new].guess_ms
        found[old, new] = Proposal(
            kind="layout",
            layers=names,
            why=what,
            todo="do without it, or with a kernel that joins the layout around it",
            skip=(old, new),
            guess_ms=guess,
        )
    return list(found.values())


def _has_blocked_kernel(op: Op) -> bool:
    """Whether other channels, rather than another layer, would bring a kernel into the layout."""
    return op.macs > 0 or op.kind in POOL_KINDS or op.kind == "concat"


class _Wiring:
    """Who writes and who reads the tensors of some layers."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._by_name = {layer.name: layer for layer in layers}
        self._writer = {name: layer for layer in layers for name in layer.outputs}
        self._readers: dict[str, list[Layer]] = {}
        for layer in layers:
            for name in layer.inputs:
                self._readers.setdefault(name, []).append(layer)

    def conversions(self, layer: Layer) -> list[Layer]:
        """Changes of layout before and after a kernel; none where there are not both."""
        before = [self._writer[name] for name in layer.inputs if name in self._writer]
        after = [item for name in layer.outputs for item in self._readers.get(name, ())]
        found = [
            [item for item in side if item.op.kind in LAYOUT_KINDS] for side in (before, after)
        ]
        return [item for side in found for item in side] if all(found) else []

    def chain(self, names: Sequence[str], *, reach: int) -> tuple[str, str, tuple[str, ...]] | None:
        """The tensor that some layers write, one of the same size before them, and all their names.

        Args:
            names: of layers that follow each other.
            reach: layers that only rename sizes, to be taken in on either side where that helps.
        """
        layers = [self._by_name[name] for name in names if name in self._by_name]
        if len(layers) != len(names) or not self._in_line(layers):
            return None
        for before in range(reach + 1):
            for after in range(reach + 1):
                wide = self._widened(layers, before, after)
                if wide is None:
                    continue
                first, last = wide[0], wide[-1]
                if first.op.inputs[0] == last.op.outputs[0]:
                    return last.outputs[0], first.inputs[0], tuple(item.name for item in wide)
        return None

    def _in_line(self, layers: Sequence[Layer]) -> bool:
        """Whether each reads only the one before, and only the next reads each."""
        single = all(len(item.inputs) == len(item.op.inputs) == 1 for item in layers)
        return single and all(
            one.outputs[:1] == two.inputs and len(self._readers.get(one.outputs[0], ())) == 1
            for one, two in pairwise(layers)
        )

    def _widened(self, layers: Sequence[Layer], before: int, after: int) -> list[Layer] | None:
        wide = list(layers)
        for _ in range(before):
            one = self._writer.get(wide[0].inputs[0])
            if one is None or one.op.kind not in RELABELS:
                return None
            wide.insert(0, one)
        for _ in range(after):
            readers = self._readers.get(wide[-1].outputs[0], ())
            if len(readers) != 1 or readers[0].op.kind not in RELABELS:
                return None
            wide.append(readers[0])
        return wide if self._in_line(wide) else None
