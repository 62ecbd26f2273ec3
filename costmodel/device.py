"""Device: the hardware, runtime and settings that made a number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

import msgspec

from costmodel.errors import DeviceMismatchError

#: Option of a device whose runtime is capped below its processor: the ``isa`` without the cap.
PROCESSOR_ISA = "PROCESSOR_ISA"
Provenance = Literal["measured", "imported", "estimated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where numbers come from, in two parts: identity and state.

    Every field but ``state`` is identity: two devices that differ in one never share a table.
    ``state`` tells what the machine was doing (governor, load, kernel version, date); a difference
    there is shown, never an error.

    Attributes:
        name: the hardware, e.g. the processor's model name.
        runtime: the library that executes kernels, e.g. ``onnxruntime``.
        runtime_version: its version.
        provider: its back end, e.g. ``CPUExecutionProvider``.
        isa: what decides kernels: a name of ``instruction_sets`` or an accelerator generation.
        threads: threads of one kernel.
        dtype: element type of the numbers.
        caches: data cache sizes in bytes, level 1 upward, per core as the system reports them.
        options: every setting that changes what is executed, as sorted text pairs.
        provenance: ``measured`` here, ``imported`` from elsewhere, or ``estimated``.
        state: what the machine was doing: text pairs, shown but never compared.

    >>> Device(name="board", runtime="fake", threads=2).slug
    'board/fake-float32-t2'
    """

    name: str
    runtime: str
    runtime_version: str = ""
    provider: str = ""
    isa: str = ""
    threads: Annotated[int, msgspec.Meta(ge=1, le=2**20)] = 1
    dtype: str = "float32"
    caches: tuple[Annotated[int, msgspec.Meta(ge=0, le=2**53)], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    provenance: Provenance = "measured"
    state: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)

    @property
    def identity(self) -> dict[str, object]:
        """The fields that must agree before numbers may be mixed."""
        return {
            item.name: getattr(self, item.name) for item in fields(self) if item.name != "state"
        }

    @property
    def fingerprint(self) -> str:
        """Stable 16-digit name of the identity."""
        data = msgspec.json.encode(self.identity, order="sorted")
        return hashlib.blake2b(data, digest_size=8).hexdigest()

    @property
    def slug(self) -> str:
        """``<device>/<runtime>-<dtype>[-tN]``: the stem of a shipped profile."""
        name = "-".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())
        threads = f"-t{self.threads}" if self.threads > 1 else ""
        return f"{name}/{self.runtime}-{self.dtype}{threads}"

    @property
    def label(self) -> str:
        """One line for people."""
        version = f" {self.runtime_version}" if self.runtime_version else ""
        plural = "s" if self.threads > 1 else ""
        return f"{self.name}, {self.runtime}{version}, {self.dtype}, {self.threads} thread{plural}"

    def require_same(self, other: Device, what: str) -> None:
        """Refuse to mix numbers of two devices.

        Args:
            other: the device of the other numbers.
            what: what was about to happen, for the message.

        Raises:
            DeviceMismatchError: naming the first field that differs, with both values.
        """
        theirs = other.identity
        for name, mine in self.identity.items():
            if mine != theirs[name]:
                message = (
                    f"{what}: the device differs in {name!r}: {mine!r} against {theirs[name]!r}. "
                    "Numbers of two devices are never mixed; use a table per device."
                )
                raise DeviceMismatchError(message)
