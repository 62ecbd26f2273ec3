"""Finds the channel groups of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from costmodel.errors import InvalidInputError
from costmodel.network import Network, Opaque
from costmodel.op import Shape
from morphnet_core.groups.flow import Member, cut_off
from morphnet_core.groups.grouping import NOBODY, ChannelGroup, Grouping, Units
from morphnet_core.groups.options import check_matches, force, freeze_excluded, freeze_outside
from morphnet_core.groups.rules import RULES
from morphnet_core.groups.rules_elementwise import JOINING
from morphnet_core.groups.tracer import Ids, Tracer

#: Seed of the numbers that stand for tensors; any will do.
_SEED = 20


def find_groups(
    network: Network,
    *,
    force_group: Sequence[str] = (),
    exclude: Sequence[str] = (),
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    minimum: int = 0,
    multiple: int = 1,
    normalisations: bool = False,
) -> Grouping:
    """Find which channels of a network live and die together.

    Channels that cannot be followed, or that the network takes in or gives out, are frozen, each
    group with its reason. A group without which nothing would reach the network's outputs keeps
    at least one channel.

    Args:
        network: layers as written, from ``read_keras`` or ``read_onnx``.
        force_group: regular expressions; channels of all layers whose origin one of them is found
            in are tied position by position (``re.search``, as the original has it).
        exclude: regular expressions; layers whose origin one is found in keep all channels.
        inputs: origins of layers; these and what only feeds them is left as it is.
        outputs: origins of layers; their outputs, and what comes after them, are left as they are.
        minimum: channels that each group keeps at least; with 0 groups may die where the network
            can do without.
        multiple: widths are rounded up to multiples of this where the group is as wide.
        normalisations: whether channels under a layer or RMS normalisation may go. Its statistics
            then change, so that the smaller network is not exactly the masked one.

    Returns:
        Groups and the unit of every position of every tensor; the same for the same network.

    Raises:
        InvalidInputError: if an expression matches nothing or is malformed, sizes of layers to be
            grouped differ, a boundary names no layer, or a number is out of range.
    """
    if minimum < 0 or multiple < 1:
        message = (
            f"minimum must be at least 0 and multiple at least 1. Received: minimum={minimum}, "
            f"multiple={multiple}."
        )
        raise InvalidInputError(message)
    network = _wired(network)
    tracer = Tracer(network, normalisations=normalisations)
    tracer.walk(RULES, frozenset(JOINING))
    check_matches(tracer, force_group, "force_group")
    check_matches(tracer, exclude, "exclude")
    force(tracer, force_group)
    freeze_excluded(tracer, exclude)
    freeze_outside(tracer, inputs, outputs)
    grouping = _Assembly(tracer).grouping()
    groups = tuple(
        replace(
            group,
            minimum=min(group.size, max(minimum, int(_is_needed(grouping, index)))),
            multiple=multiple,
        )
        for index, group in enumerate(grouping.groups)
    )
    return replace(grouping, groups=groups)


def _wired(network: Network) -> Network:
    """``network`` with every tensor written by something.

    Where the wiring of unread layers is not known, they may read all that there is and write all
    that nobody else does. Returned constants have no writer either.
    """
    loose = [name for name in network.unread if name not in network.opaque]
    known = [*network.inputs]
    known += [name for layer in network.opaque.values() for name in layer.outputs]
    known += [name for layer in network.layers for name in layer.outputs]
    sizes: dict[str, Shape] = dict.fromkeys(network.outputs, ())
    for layer in network.layers:
        sizes.update(zip(layer.inputs, layer.op.inputs, strict=False))
    lost = {name: size for name, size in sizes.items() if name not in set(known)}
    if not loose and not lost:
        return network
    titles = loose or ["constants"]
    reasons = {**dict.fromkeys(titles, "it depends on nothing that is fed"), **network.unread}
    nothing = Opaque(inputs=(), outputs=(), sizes=(), reason="")
    added = {name: replace(nothing, reason=reasons[name]) for name in titles}
    added[titles[0]] = Opaque(
        inputs=tuple(known) if loose else (),
        outputs=tuple(lost),
        sizes=tuple(lost.values()),
        reason=reasons[titles[0]],
    )
    return replace(network, opaque={**network.opaque, **added})


def _is_needed(grouping: Grouping, index: int) -> bool:
    """Whether nothing would reach some output of the network without a group."""
    counts = grouping.full_counts
    counts[index] = 0
    return bool(cut_off(grouping.network, grouping.members, counts))


class _Assembly:
    """Turns a finished trace into units and groups."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        #: Component of each id, numbered by first id.
        self._component = _components(tracer)
        self._count = int(self._component.max(initial=-1)) + 1
        self._reason = self._frozen_reasons()

    def grouping(self) -> Grouping:
        """The grouping, without minimum and multiple."""
        tracer = self._tracer
        group_of = self._groups()
        order = np.lexsort((np.arange(self._count), group_of))
        order = order[group_of[order] >= 0]
        unit = np.full(self._count + 1, NOBODY, dtype=np.intp)
        unit[order] = np.arange(len(order))
        units: dict[str, Units] = {
            name: unit[self._component[item.ids]] for name, item in tracer.tensors.items()
        }
        sizes = np.bincount(group_of[order]) if len(order) else np.zeros(0, dtype=np.intp)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        return Grouping(
            network=tracer.network,
            groups=self._described(unit, owner, sizes),
            units=units,
            axes={name: item.axis for name, item in tracer.tensors.items()},
            sizes=dict(tracer.sizes),
            members={name: _members(item, owner, sizes) for name, item in units.items()},
            mixers=tuple(tracer.mixers),
            num_units=len(order),
            notes=dict(tracer.notes),
            normalisations=tracer.normalisations,
        )

    def _frozen_reasons(self) -> Ids:
        """Index of the first freeze of each component; -1 where there is none."""
        found = np.full(self._count, -1, dtype=np.intp)
        for index in range(len(self._tracer.freezes) - 1, -1, -1):
            found[self._component[self._tracer.freezes[index].ids]] = index
        return found

    def _groups(self) -> Ids:
        """Group of each component, numbered by first component; -1 for nobody's.

        Components are of one group if every tensor, and every measured run of positions, has
        equally many positions of each, and if they are frozen for the same reason. Sets are
        compared by sums of random numbers.
        """
        tracer, count = self._tracer, self._count
        random = np.random.default_rng(_SEED)
        signature = np.zeros(count, dtype=np.uint64)
        for ids in (*(item.ids for item in tracer.tensors.values()), *tracer.runs):
            number = random.integers(1, 2**63, dtype=np.uint64)
            seen = np.bincount(self._component[ids], minlength=count)
            signature += seen.astype(np.uint64) * number
        owned = np.zeros(count, dtype=np.bool_)
        for made in (*tracer.productions, *tracer.sources):
            owned[self._component[made.ids]] = True
        reasons: dict[str, int] = {}
        texts = [reasons.setdefault(item.reason, len(reasons)) for item in tracer.freezes]
        text = np.array([*texts, -1], dtype=np.intp)[self._reason]
        numbers: dict[tuple[int, int], int] = {}
        return np.array(
            [
                numbers.setdefault((int(s), int(t)), len(numbers)) if o else -1
                for s, t, o in zip(signature, text, owned, strict=True)
            ],
            dtype=np.intp,
        )

    def _described(self, unit: Units, owner: Ids, sizes: Ids) -> tuple[ChannelGroup, ...]:
        producers: list[dict[str, None]] = [{} for _ in sizes]
        for made in self._tracer.productions:
            for group in _groups_in(unit[self._component[made.ids]], owner):
                producers[group].setdefault(made.origin)
        sources: list[str] = [""] * len(sizes)
        for made in self._tracer.sources:
            for group in _groups_in(unit[self._component[made.ids]], owner):
                sources[group] = sources[group] or made.origin
        reason: list[int] = [-1] * len(sizes)
        for component, index in enumerate(self._reason.tolist()):
            if index >= 0 and unit[component] >= 0:
                reason[owner[unit[component]]] = index
        names: dict[str, int] = {}
        groups, start = [], 0
        for index, size in enumerate(sizes.tolist()):
            writers = tuple(producers[index])
            name = _unique(writers[0] if writers else sources[index], names)
            frozen = self._tracer.freezes[reason[index]].reason if reason[index] >= 0 else ""
            groups.append(
                ChannelGroup(name=name, start=start, size=size, producers=writers, frozen=frozen)
            )
            start += size
        return tuple(groups)


def _components(tracer: Tracer) -> Ids:
    """Component of each id after all ties, numbered by the first id in it."""
    empty = np.zeros(0, dtype=np.intp)
    a = np.concatenate([empty, *(pair[0] for pair in tracer.ties)])
    b = np.concatenate([empty, *(pair[1] for pair in tracer.ties)])
    if not tracer.count:
        return empty
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(tracer.count,) * 2)
    _, labels = connected_components(graph, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse], dtype=np.intp)


def _members(units: Units, owner: Ids, sizes: Ids) -> tuple[Member, ...]:
    """Groups in one tensor, in the order of groups."""
    places = np.bincount(owner[units[units >= 0]], minlength=len(sizes))
    return tuple(
        Member(group=group, positions=int(places[group] // sizes[group]))
        for group in np.flatnonzero(places).tolist()
    )


def _groups_in(units: Units, owner: Ids) -> list[int]:
    return [int(group) for group in np.unique(owner[units[units >= 0]])]


def _unique(name: str, taken: dict[str, int]) -> str:
    """``name``, numbered from its second use on."""
    taken[name] = taken.get(name, 0) + 1
    title = name if taken[name] == 1 else f"{name}#{taken[name]}"
    return title if title == name or title not in taken else _unique(title, taken)
