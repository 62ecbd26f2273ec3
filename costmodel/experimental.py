"""Ways to hardware that nobody has tried yet: said in one place, shown wherever they are offered.

Their code is written from documentation and tested against stand-ins. Whoever runs one of them on
the real thing takes its line out here, and adds what was seen to ``docs/devices.md``.
"""

from __future__ import annotations

from collections.abc import Iterable

#: What is said of them.
EXPERIMENTAL = "experimental: not yet run on such a device"
#: Runners, options of runners, and execution providers of ONNX Runtime, that were never run on
#: what they are for.
RUNNERS = frozenset({"adb"})
OPTIONS = frozenset({"bundle"})
PROVIDERS = frozenset(
    {
        "CUDAExecutionProvider",
        "CoreMLExecutionProvider",
        "NnapiExecutionProvider",
        "QNNExecutionProvider",
        "TensorrtExecutionProvider",
    }
)


def label_of(runner: str = "", provider: str = "", options: Iterable[str] = ()) -> str:
    """What must be said beside a runner or a provider; empty where it was tried.

    Args:
        runner: its name, or an address such as ``adb://0123``.
        provider: ONNX Runtime's own name of one.
        options: names of those that a runner is given.

    >>> label_of("adb://0123"), label_of("ort"), label_of(provider="CUDAExecutionProvider")[:12]
    ('experimental: not yet run on such a device', '', 'experimental')
    """
    untried = (
        runner.partition("://")[0] in RUNNERS
        or provider in PROVIDERS
        or not OPTIONS.isdisjoint(options)
    )
    return EXPERIMENTAL if untried else ""
