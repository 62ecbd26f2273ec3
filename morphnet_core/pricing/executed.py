"""Which kernels are priced: those that a device's runtime executes, as far as that is known."""

from __future__ import annotations

from costmodel.anticipation import CHANNEL_SLICES, RULES, anticipate
from costmodel.device import Device
from costmodel.instruction_sets import find_instruction_set
from costmodel.network import Network

#: What every inference runtime folds: normalisations, activations and sums into the layer before.
FOLDED = Device(name="any", runtime="onnxruntime")


def rules_of(device: Device | None) -> Device:
    """The device whose rules say what is executed.

    Args:
        device: where prices are from; None for those that hold anywhere.

    Returns:
        ``device`` if the rules of its runtime are known, else one that folds what every runtime
        folds (normalisations, activations, residual sums) and keeps the plain layout.
    """
    return device if device is not None and device.runtime in RULES else FOLDED


def executed(network: Network, device: Device | None) -> Network:
    """A network as the runtime of ``device`` executes it; see ``rules_of``."""
    return anticipate(network, rules_of(device))


def block_of(device: Device | None) -> int:
    """Channels up to whose next multiple a kernel works anyway; 1 where that is not known."""
    rules = rules_of(device)
    return CHANNEL_SLICES.get(rules.runtime) or find_instruction_set(rules.isa).block
