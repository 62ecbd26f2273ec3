"""design: which probes to look at, spread over what real convolutional networks use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from costmodel.errors import InvalidInputError
from costmodel.sampling import convolutions, kernels, tokens
from costmodel.sampling.draw import draws
from costmodel.sampling.probe import Probe

#: Share of probes that are convolutions; they bring further rows of their own (layout, activation).
CONV_SHARE = 0.65
#: Share of the others that are tokens' kernels.
_TOKEN_SHARE = 0.45
#: Draws in a row without a new probe after which a family is used up, as the largest products are.
_PATIENCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """One kind of layer: how often it is taken, and its endless probes."""

    share: float
    probes: Iterator[Probe]


def design(samples: int, seed: int = 0) -> tuple[Probe, ...]:
    """Space-filling choice of layers, weighted by what real networks use.

    Each family of layers (3x3, pointwise, depthwise, stems, pools ...) is filled in the order of
    its own scrambled Sobol sequence, and families take turns by their shares, so that a smaller
    design is a prefix of a larger one and as well spread.

    Args:
        samples: probes to return.
        seed: same seed, same design.

    Raises:
        InvalidInputError: if ``samples`` is not positive or ``seed`` is negative.

    >>> design(20) == design(50)[:20]
    True
    """
    if samples < 1 or seed < 0:
        message = (
            "A design needs at least one sample and a seed of at least 0. "
            f"Received: samples={samples}, seed={seed}."
        )
        raise InvalidInputError(message)
    families = _families(seed)
    shares = [family.share for family in families]
    taken = [0] * len(families)
    probes: list[Probe] = []
    while len(probes) < samples:
        # The family furthest behind its share has its turn.
        step = sum(taken) + 1
        turn = max(range(len(shares)), key=lambda i: shares[i] * step - taken[i])
        taken[turn] += 1
        probe = next(families[turn].probes, None)
        if probe is not None:
            probes.append(probe)
        else:
            shares[turn] = 0.0
    return tuple(probes)


def _families(seed: int) -> list[_Family]:
    others = 1 - CONV_SHARE
    groups = (
        (CONV_SHARE, convolutions.FAMILIES, convolutions.is_realistic),
        (others * (1 - _TOKEN_SHARE), kernels.FAMILIES, kernels.is_realistic),
        (others * _TOKEN_SHARE, tokens.FAMILIES, tokens.is_realistic),
    )
    found: list[_Family] = []
    for share, members, accept in groups:
        total = sum(weight for weight, _ in members.values())
        for name, (weight, make) in members.items():
            probes = _stream(name, make, accept, seed, stream=len(found))
            found.append(_Family(share=share * weight / total, probes=probes))
    return found


def _stream(
    name: str,
    make: convolutions.Maker,
    accept: Callable[[Probe], bool],
    seed: int,
    *,
    stream: int,
) -> Iterator[Probe]:
    """Probes of one family that keep its bounds, without repeats."""
    seen: set[Probe] = set()
    misses = 0
    for draw in draws(seed, stream):
        probe = make(draw, f"{name}_{len(seen)}")
        anonymous = replace(probe, name="")
        if anonymous in seen or not accept(probe):
            misses += 1
            if misses > _PATIENCE:
                return
            continue
        misses = 0
        seen.add(anonymous)
        yield probe
