"""Every error the toolkit raises on purpose.

Each is also the builtin a caller would expect (``ValueError``, ``ImportError`` ...), and the
command line turns any of them into one message and exit code 2, without a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: What ``pip install`` installs; the name of the package that is imported belongs to others there.
DISTRIBUTION = "morphnet-latency"

#: What Python raises where a file, or an answer, is not in the form that its reader takes it for.
#: Readers of small pieces catch it once, around all of what they do, and say what was read.
MISFORMED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError),
    *(TypeError, ValueError),
)


class CostModelError(Exception):
    """Base of all errors raised on purpose; its text says what happened and how to mend it."""


class InvalidInputError(CostModelError, ValueError):
    """A value, option or file that cannot be used as given."""


class TableFormatError(CostModelError, ValueError):
    """A latency table that cannot be read; names file, line and field."""


class ModelFormatError(CostModelError, ValueError):
    """A model file that cannot be read, or has sizes nobody bound; names file and tensor."""


class LimitError(ModelFormatError, InvalidInputError):
    """A file that would take more than ``costmodel.limits`` lets it; the text says how to go on."""


class DeviceMismatchError(CostModelError, ValueError):
    """Numbers of two different devices were about to be mixed; names the field that differs."""


class LockedError(CostModelError, RuntimeError):
    """Another profiler holds the table or the device."""

    def __init__(self, message: str, *, lock: Path | None = None, short: str = "") -> None:
        """Say who holds what.

        Args:
            message: in full.
            lock: the lock's file; None where it lies on another machine.
            short: who holds what, without what to do about it.
        """
        super().__init__(message)
        self.lock = lock
        self.short = short or message


class UnsupportedOpError(CostModelError, ValueError):
    """A runner cannot rebuild or run this Op; the text is stored as the row's reason."""


class RemoteError(CostModelError, ConnectionError):
    """A remote device that cannot be used as it is; the text says what to mend there or here."""


class LinkLostError(RemoteError):
    """The link to a remote device broke, or the device is away; another try may help."""


class DeviceAwayError(RemoteError):
    """A remote device whose link did not come back in time; the same command goes on later."""


class MissingDependencyError(CostModelError, ImportError):
    """A package that an extra installs is missing; the text holds the ``pip install`` line."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        """Say which extra installs ``package``.

        Args:
            package: import name that was not found.
            extra: the extra of this distribution that brings it.
            what: what the caller was about to do, for the message.
        """
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install '{DISTRIBUTION}[{extra}]'"
        )


#: Packages that whole modules are written with, and the extra that brings each.
_EXTRAS = {"keras": "keras", "tensorflow": "keras", "tf2onnx": "keras", "torch": "torch"}


def missing_extra(error: ImportError, what: str) -> MissingDependencyError | None:
    """What to install where an import did not find its package.

    Args:
        error: of the import.
        what: what the caller was about to do, for the message.

    Returns:
        None if no extra brings that package.

    >>> print(missing_extra(ImportError(name="keras.layers"), "Training"))
    Training needs the package 'keras', which is not installed. \
Install it with: pip install 'morphnet-latency[keras]'
    >>> missing_extra(ImportError(name="costmodel.nothing"), "Training")
    """
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package)
    return MissingDependencyError(package, extra, what) if extra else None


class MissingProviderError(MissingDependencyError):
    """The installed ONNX Runtime lacks an execution provider; the text says which wheel has it."""

    def __init__(self, provider: str, wheel: str, available: Sequence[str]) -> None:
        """Say how to get ``provider``.

        Args:
            provider: the runtime's name of it.
            wheel: what to install.
            available: providers that the installed runtime has.
        """
        super(MissingDependencyError, self).__init__(
            f"The installed ONNX Runtime has no {provider}. Get it with: {wheel}. "
            f"Present: {', '.join(available)}."
        )


def first_line(error: BaseException) -> str:
    r"""What a library's error says first; the name of its class where it says nothing.

    >>> first_line(ValueError(" too wide\nsee the log")), first_line(KeyError())
    ('too wide', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
