"""The TPU generations that are compiled for, and the clocks that turn cycles into milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from costmodel.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One kind of TPU, as far as an estimate needs to know it.

    Attributes:
        name: as people write it: ``v5e``.
        topology: what the compiler calls the smallest set of such chips.
        clock_mhz: cycles per microsecond.
        clock_source: where that is published, or how it follows from what is.
        settings: further settings of the topology.
    """

    name: str
    topology: str
    clock_mhz: float
    clock_source: str
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)


#: All generations, oldest first. Clocks of v2, v3 and v4 are published as such. For the others the
#: peak bfloat16 rate of a device (Cloud TPU documentation, one page per version) is divided by the
#: operations that its matrix units do in a cycle; the compiler's estimate for a large product
#: (4096 or 8192 cubed) comes within 20 % of those operations per cycle and never exceeds them. A
#: device is what a program sees as one: a core of v2, v3 and 7x, a whole chip of the others (v4 and
#: v5p join their two cores, "megacore").
GENERATIONS: Mapping[str, Generation] = {
    item.name: item
    for item in (
        Generation(
            name="v2",
            topology="v2:2x2",
            clock_mhz=700.0,
            clock_source="Jouppi et al., A Domain-Specific Supercomputer for Training Deep Neural "
            "Networks, CACM 63(7), 2020, table 3: 700 MHz",
        ),
        Generation(
            name="v3",
            topology="v3:2x2",
            clock_mhz=940.0,
            clock_source="Jouppi et al., A Domain-Specific Supercomputer for Training Deep Neural "
            "Networks, CACM 63(7), 2020, table 3: 940 MHz",
        ),
        Generation(
            name="v4",
            topology="v4:2x2x1",
            clock_mhz=1050.0,
            clock_source="Jouppi et al., TPU v4: An Optically Reconfigurable Supercomputer, ISCA "
            "2023, table 4: 1050 MHz",
            settings={"chip_config_name": "megacore"},
        ),
        Generation(
            name="v5e",
            topology="v5e:2x2",
            clock_mhz=1500.0,
            clock_source="197 TFLOP/s a chip (Cloud TPU documentation, v5e) over 4 matrix units of "
            "128 x 128 multiply-adds: 1503 MHz, rounded",
        ),
        Generation(
            name="v5p",
            topology="v5p:2x2x1",
            clock_mhz=1750.0,
            clock_source="459 TFLOP/s a chip (Cloud TPU documentation, v5p) over 2 cores of 4 "
            "matrix units of 128 x 128 multiply-adds: 1751 MHz, rounded",
        ),
        Generation(
            name="v6e",
            topology="v6e:2x2",
            clock_mhz=1750.0,
            clock_source="918 TFLOP/s a chip (Cloud TPU documentation, v6e) over 262144 "
            "multiply-adds a cycle (2 matrix units of 256 x 256, two passes a cycle as the "
            "compiler counts): 1751 MHz, rounded",
        ),
        Generation(
            name="7x",
            topology="tpu7x:2x2x1",
            clock_mhz=2200.0,
            clock_source="2307 TFLOP/s a chip of two cores (Cloud TPU documentation, TPU7x) over "
            "262144 multiply-adds a cycle and core, as the compiler counts: 2200 MHz",
        ),
    )
}


def generation_of(name: str) -> Generation:
    """The generation of this name.

    Raises:
        InvalidInputError: if there is none; lists those that there are.

    >>> generation_of("v5e").clock_mhz
    1500.0
    """
    known = name.lower().removeprefix("tpu").strip("-_ ")
    if known not in GENERATIONS:
        message = (
            f"There is no TPU generation named {name!r} to compile for. "
            f"Known: {', '.join(GENERATIONS)}."
        )
        raise InvalidInputError(message)
    return GENERATIONS[known]
