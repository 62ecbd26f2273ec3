"""Processors with other instruction sets, emulated: asks a runtime there what it executes.

x86 processors run this environment's own Python under ``qemu-x86_64``, ARM ones the Python of a
bundle (``scripts/arm64_bundle.py --emulated``) under ``qemu-aarch64``. Both come with Debian's
package ``qemu-user``, version 7.2 or newer: older ones have no AVX2.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import place

from costmodel.lite_model.graph import LiteModel
from costmodel.lite_model.write import write_model
from costmodel.onnx_model.nodes import Tensor
from costmodel.remote.bundle_build import build_bundle
from costmodel.remote.bundle_parts import EMULATED
from costmodel.remote.specs import runtime_setup
from costmodel.runners.litert.session import taken_over
from costmodel.runners.ort.optimised import write_source

#: Emulated processor by instruction set: old ones, so that nothing beyond the set decides.
#: AVX-512 is in no emulator: it takes a processor that has it.
X86 = {"avx2": "Haswell", "avx": "SandyBridge", "sse": "Nehalem"}
#: The first is the one that bundles are for; the second has all that ARM has but for SME (SVE,
#: products of 8-bit matrices, float16), to see that it does not decide; the last has SME too.
ARM = {"neon": "cortex-a76", "neon-max": "max,sme=off", "sme": "max"}
PROCESSORS = {**X86, **ARM}
_WORKER = Path(__file__).with_name("isa_worker.py")
_HOME = place.WORK / "isa"


class AnswerError(Exception):
    """What the runtime there said against a model."""


class Emulated:
    """One process under an emulated processor that answers about many models.

    Args:
        isa: a key of ``PROCESSORS``; ``native`` for the processor as it is.
    """

    def __init__(self, isa: str) -> None:
        self._folder = TemporaryDirectory(prefix="isa-")
        self.folder = Path(self._folder.name)
        self._process = subprocess.Popen(
            _command(isa), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def ask(self, do: str, **fields: object) -> Any:
        """One order and its answer.

        Raises:
            AnswerError: if the runtime refuses the model.
            RuntimeError: if the process is gone.
        """
        process = self._process
        assert process.stdin
        assert process.stdout
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            message = f"The emulated process ended ({process.wait()}) over {do} {fields}."
            raise RuntimeError(message)
        found = json.loads(line)
        if "error" in found:
            raise AnswerError(found["error"])
        return found["answer"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class EmulatedExecutor:
    """An ``Executor`` of ``costmodel.runners.ort.optimised`` on an emulated processor."""

    def __init__(self, emulated: Emulated) -> None:
        self._emulated = emulated
        self._setup = runtime_setup(1)

    def optimise(self, model: Any, target: Path) -> Collection[str]:
        """Have the optimised graph written."""
        source = write_source(model, target)
        folder = self._emulated.folder / "work"
        shutil.rmtree(folder, ignore_errors=True)
        fields = {"setup": self._setup, "model": str(source), "folder": str(folder)}
        fed: list[str] = self._emulated.ask("optimise", **fields)
        shutil.copy(folder / "optimised.onnx", target)
        return fed

    def profile(self, path: Path, runs: int) -> tuple[Sequence[Any], Mapping[str, Tensor]]:
        """Have an optimised graph run."""
        folder = self._emulated.folder / "work"
        fields = {"setup": self._setup, "model": str(path), "folder": str(folder), "runs": runs}
        found = self._emulated.ask("profile", **fields)
        events = json.loads((folder / found["trace"]).read_text(encoding="utf-8"))
        feed = {
            name: Tensor(shape=tuple(shape), dtype=dtype)
            for name, (shape, dtype) in found["feed"].items()
        }
        return events, feed


def delegated_there(emulated: Emulated, model: LiteModel) -> frozenset[int]:
    """Positions of the operators that XNNPACK takes over on an emulated processor."""
    path = emulated.folder / "model.tflite"
    path.write_bytes(write_model(model))
    return taken_over(emulated.ask("lite", model=str(path)), model)


def _command(isa: str) -> list[str]:
    if isa == "native":
        return [sys.executable, str(_WORKER)]
    if isa in X86:
        return ["qemu-x86_64", "-cpu", X86[isa], sys.executable, str(_WORKER)]
    root, litert = _arm_bundle(), _arm_litert()
    words = [word.format(root=root) for word in EMULATED]
    words[words.index("-cpu") + 1] = ARM[isa]
    library = str(root / "lib")
    loader = [f"{library}/ld-linux-aarch64.so.1", "--inhibit-cache", "--library-path", library]
    return [*words, *loader, str(root / "bin" / "python3"), "-E", "-s", str(_WORKER), str(litert)]


def _arm_bundle() -> Path:
    """A bundle for ARM, made and unpacked on first use."""
    folder = _HOME / "arm64"
    if not folder.exists():
        _HOME.mkdir(parents=True, exist_ok=True)
        archive, part = _HOME / "arm64-emulated.tgz", _HOME / "arm64.part"
        if not archive.exists():
            build_bundle(archive, emulated=True)
        with tarfile.open(archive) as packed:
            packed.extractall(part, filter="data")
        part.replace(folder)
    return folder


def _arm_litert() -> Path:
    """LiteRT's wheel for ARM in the version that is installed here, unpacked on first use."""
    folder = _HOME / "litert-arm64"
    if not folder.exists():
        with TemporaryDirectory(prefix="isa-") as name:
            platforms = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17")
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name,
                 "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp",
                 *(word for p in platforms for word in ("--platform", f"{p}_aarch64")),
                 f"ai-edge-litert=={version('ai-edge-litert')}"],
                check=True,
            )  # fmt: skip
            part = _HOME / "litert-arm64.part"
            for wheel in Path(name).glob("*.whl"):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(part)
        part.replace(folder)
    return folder
