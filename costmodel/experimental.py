"""Ways to hardware that nobody has tried yet: said in one place, shown wherever they are offered.

Their code is written from documentation and tested against stand-ins. Whoever runs one of them on
the real thing takes its line out here, and adds what was seen to ``docs/devices.md``.
"""

from __future__ import annotations

#: What is said of them.
EXPERIMENTAL = "experimental: not yet run on such a device"
#: Runners, and execution providers of ONNX Runtime, that were never run on what they are for.
RUNNERS = frozenset({"adb"})
PROVIDERS = frozenset(
    {
        "CUDAExecutionProvider",
        "CoreMLExecutionProvider",
        "NnapiExecutionProvider",
        "QNNExecutionProvider",
        "TensorrtExecutionProvider",
    }
)


def label_of(runner: str = "", provider: str = "") -> str:
    """What must be said beside a runner or a provider; empty where it was tried.

    Args:
        runner: its name, or an address such as ``adb://0123``.
        provider: ONNX Runtime's own name of one.

    >>> label_of("adb://0123"), label_of("ort"), label_of(provider="CUDAExecutionProvider")[:12]
    ('experimental: not yet run on such a device', '', 'experimental')
    """
    tried = runner.partition("://")[0] not in RUNNERS and provider not in PROVIDERS
    return "" if tried else EXPERIMENTAL
