"""Which layers a converter keeps: what is read, one of equal ones, a padding for each reader."""

from __future__ import annotations

from dataclasses import replace

from costmodel.network import Layer, Network

#: Kinds of which a converter keeps every copy: padding goes into each convolution that reads it.
_KEPT = frozenset({"pad"})


def drop_unread(network: Network) -> Network:
    """The network without layers that nothing it returns depends on.

    Args:
        network: as written. Where it has layers that could not be read and whose wiring is not
            known, or returns nothing, nobody can tell, and everything stays.
    """
    if not network.outputs or network.unread.keys() - network.opaque.keys():
        return network
    wanted = set(network.outputs)
    wanted.update(*(item.inputs for item in network.opaque.values()))
    layers: list[Layer] = []
    for layer in reversed(network.layers):
        if wanted.intersection(layer.outputs):
            wanted.update(layer.inputs)
            layers.append(layer)
    return replace(network, layers=tuple(reversed(layers)))


def share_equal(network: Network) -> tuple[Network, dict[str, list[str]]]:
    """The network without layers that compute what an earlier one does.

    Layers with weights are never equal here: their values are not known.

    Args:
        network: as written.

    Returns:
        The network, and by name of each layer that is left the names of those it stands for.
    """
    renamed: dict[str, str] = {}
    first: dict[tuple[object, ...], Layer] = {}
    stands_for: dict[str, list[str]] = {}
    layers: list[Layer] = []
    returned = set(network.outputs)
    for layer in network.layers:
        reads = tuple(renamed.get(name, name) for name in layer.inputs)
        current = replace(layer, inputs=reads)
        plain = not layer.op.weights and layer.op.kind not in _KEPT
        twin = first.setdefault((layer.op, reads), current) if plain else current
        if twin is current or returned & set(layer.outputs):
            layers.append(current)
            continue
        renamed.update(zip(layer.outputs, twin.outputs, strict=True))
        stands_for.setdefault(twin.name, []).append(layer.name)
    return replace(network, layers=tuple(layers)), stands_for


def split_pads(network: Network) -> Network:
    """The network with a padding of its own for every convolution that reads a shared one.

    So it is inside that convolution, where it costs nothing.
    """
    returned = set(network.outputs)
    readers: dict[str, list[Layer]] = {}
    for layer in network.layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    layers: list[Layer] = []
    shared: dict[str, Layer] = {}
    for layer in network.layers:
        current = layer
        padding = shared.get(layer.inputs[0]) if layer.inputs else None
        if padding is not None:
            own = f"{layer.inputs[0]}/{layer.name}"
            layers.append(replace(padding, outputs=(own,)))
            current = replace(layer, inputs=(own, *layer.inputs[1:]))
        found = readers.get(layer.outputs[0], []) if layer.outputs else []
        several = len(found) > 1 and all(reader.op.kind == "conv" for reader in found)
        if layer.op.kind == "pad" and several and layer.outputs[0] not in returned:
            shared[layer.outputs[0]] = current
        else:
            layers.append(current)
    return replace(network, layers=tuple(layers))
