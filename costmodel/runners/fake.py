"""A deterministic device with a known latency law, for tests, documentation and dry runs.

It is a runner like any other: everything that profiles, prices or compares can be tried on it in
milliseconds, against a truth that is known exactly.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec

from costmodel.device import Device
from costmodel.errors import InvalidInputError, ModelFormatError, UnsupportedOpError
from costmodel.network import Layer, Network, session_op
from costmodel.op import CONV_KINDS, MATMUL_KINDS, MODEL, SESSION, Op
from costmodel.protocols import Block
from costmodel.registry import KeepsOptions
from costmodel.runners.workload import BaseWorkload

#: Channels the device works on at once; it pads up to a whole number of them.
BLOCK = 16
#: Multiply-adds per millisecond and thread (20 GMAC/s).
MACS_PER_MS = 2e7
#: Bytes per millisecond, shared by all threads (10 GB/s).
BYTES_PER_MS = 1e7
#: Bytes of every element; the device knows float32 only.
ELEMENT_BYTES = 4
#: Fixed cost of one kernel.
KERNEL_MS = 0.002
#: Fixed cost of one run of a model.
SESSION_MS = 0.05
#: How much longer multiply-adds take on the path for input channels that 4 does not divide.
SLOW_PATH = 3.0
#: Where the ``exhaust`` misbehaviour gives up, so that a test without a limit spares its machine.
EXHAUST_BYTES = 4 << 30

_DECODER = msgspec.json.Decoder(tuple[Op, ...])


def law_ms(op: Op, *, threads: int = 1) -> float:
    """The truth: what one execution of ``op`` takes on an undisturbed fake device, in ms.

    ``KERNEL_MS + padded multiply-adds / (MACS_PER_MS * threads) + bytes / BYTES_PER_MS``, where
    output channels, and input channels per group unless the convolution is depthwise, are padded
    to ``BLOCK`` (so that latency is a staircase in channels), and the multiply-adds of a
    convolution take ``SLOW_PATH`` times as long when 4 does not divide its input channels. Bytes
    are those of all activations and weights as given, unpadded.

    Args:
        op: what is executed; ``session`` costs ``SESSION_MS``.
        threads: threads of one kernel.

    Raises:
        UnsupportedOpError: for a ``model`` row, or a convolution or product without its shapes.

    >>> from costmodel.op import conv_op
    >>> def pointwise(width):
    ...     return conv_op(in_channels=16, out_channels=width, size=(8, 8), kernel=(1, 1))
    >>> [round(law_ms(pointwise(width)), 4) for width in (16, 17)]
    [0.0037, 0.0046]
    """
    if op.kind == SESSION:
        return SESSION_MS
    _require_shapes(op)
    elements = op.num_input_elements + op.num_output_elements + op.num_weights
    memory_ms = elements * ELEMENT_BYTES / BYTES_PER_MS
    return KERNEL_MS + _padded_macs(op) / (MACS_PER_MS * threads) + memory_ms


def _require_shapes(op: Op) -> None:
    if op.kind == MODEL:
        message = "A 'model' row is a whole network, not a kernel. Use load_model for it."
        raise UnsupportedOpError(message)
    complete = True
    if op.kind in CONV_KINDS:
        complete = bool(op.inputs and op.outputs and op.kernel)
    elif op.kind in MATMUL_KINDS:
        complete = bool(op.outputs and op.outputs[0] and (op.inputs or op.weights))
    if not complete:
        message = (
            f"This {op.kind} lacks shapes: inputs={op.inputs}, outputs={op.outputs}, "
            f"weights={op.weights}. Give all three."
        )
        raise UnsupportedOpError(message)


def _padding(channels: int) -> float:
    """Work on channels padded to the block, as a multiple of the work asked for."""
    return -(-channels // BLOCK) * BLOCK / channels if channels else 1.0


def _padded_macs(op: Op) -> float:
    if op.kind in MATMUL_KINDS:
        return op.macs * _padding(op.outputs[0][-1])
    if op.kind not in CONV_KINDS:
        return 0.0
    macs = op.macs * _padding(op.out_channels)
    if not op.is_depthwise:
        macs *= _padding(op.in_channels // op.groups)
    return macs * (SLOW_PATH if op.in_channels % 4 else 1.0)


def _hang() -> None:
    while True:
        time.sleep(1.0)


def _exit() -> None:
    os._exit(70)


def _segfault() -> None:
    signal.raise_signal(signal.SIGSEGV)


def _exhaust() -> None:
    hoard: list[bytes] = []
    step = 8 << 20
    while len(hoard) * step < EXHAUST_BYTES:
        hoard.append(b"\1" * step)  # ones, not zeros: untouched zero pages take no memory
        time.sleep(0.01)  # slow enough for a watchdog to look
    message = f"The fake device gave up after {EXHAUST_BYTES >> 30} GiB."
    raise MemoryError(message)


#: What an Op can be told to do instead of running; ``unsupported`` already refuses to load.
MISBEHAVIOURS: Mapping[str, Callable[[], None]] = {
    "hang": _hang,
    "exit": _exit,
    "segfault": _segfault,
    "exhaust": _exhaust,
}


class FakeWorkload(BaseWorkload):
    """An Op, or all Ops of a model, on the fake device."""

    def __init__(self, runner: FakeRunner, ops: tuple[Op, ...]) -> None:
        """Make ready.

        Args:
            runner: the device; its noise is drawn from one stream, block after block.
            ops: what one execution runs, in order.
        """
        self._runner = runner
        self._latency_ms = sum(runner.law_ms(op) for op in ops)
        # A model runs although one of its Ops cannot be rebuilt alone: "unsupported" is no action.
        actions = (MISBEHAVIOURS.get(runner.misbehaviour(op)) for op in ops)
        self._misbehaviour = next(filter(None, actions), None)

    def _block(self, min_ms: float) -> Block:
        """Time one stretch, without waiting unless ``realtime``."""
        if self._misbehaviour:
            self._misbehaviour()
        latency_ms = self._latency_ms * self._runner.interference()
        runs = max(1, math.ceil(min_ms / latency_ms))
        wall_ms = max(runs * latency_ms, min_ms)
        if self._runner.realtime:
            time.sleep(wall_ms / 1000.0)
        return Block(latency_ms=latency_ms, wall_ms=wall_ms, runs=runs)


class FakeRunner(KeepsOptions):
    """The fake device as a ``Runner``: a model is a JSON file that holds a list of Ops, or ONNX.

    >>> from costmodel.op import conv_op
    >>> op = conv_op(in_channels=16, out_channels=16, size=(8, 8), kernel=(1, 1))
    >>> with FakeRunner(noise=0.1, seed=1).load_op(op) as workload:
    ...     block = workload.block(1.0)
    >>> block.latency_ms > law_ms(op), block.wall_ms >= 1.0
    (True, True)
    """

    def __init__(  # keywords only, of plain types: they come from the command line and from JSON
        self,
        *,
        threads: int = 1,
        noise: float = 0.0,
        seed: int = 0,
        speed: float = 1.0,
        realtime: bool = False,
        misbehave: str = "",
        address: str = "",
        slower: float = 1.0,
    ) -> None:
        """Set up the device.

        Args:
            threads: threads of one kernel; they divide the multiply-adds, not the memory traffic.
            noise: mean share of time that interference adds to a block, exponentially distributed;
                never negative, because a disturbance only ever adds time.
            seed: start of the noise stream, which all workloads of this runner draw from in turn;
                below 0, every process has another one.
            speed: divides every latency; another speed is another device.
            realtime: whether blocks really take their wall time (asleep); else they return at once.
            misbehave: what to do instead of running some Ops: ``action:kind`` or
                ``action:digest`` items, comma separated, e.g. ``hang:softmax,exit:lrn``. Actions:
                ``unsupported`` (``load_op`` refuses it), and from ``block``: ``hang``, ``exit`` and
                ``segfault`` (ends the process), ``exhaust`` (allocates 8 MiB every 10 ms until
                memory, its limit or 4 GiB are used up; use it under a limit).
            address: which of several boards it is, such as ``fake://a``: each can be timed while
                others are.
            slower: multiplies every latency of this one board; its kind stays the same.

        Raises:
            InvalidInputError: for a number out of range or an unknown action.
        """
        speeds_hold = 0 < speed < math.inf and 0 < slower < math.inf
        if threads < 1 or not 0 <= noise < math.inf or not speeds_hold:
            message = (
                "The fake device needs threads >= 1, noise >= 0, speed > 0 and slower > 0. "
                f"Received: threads={threads}, noise={noise}, speed={speed}, slower={slower}."
            )
            raise InvalidInputError(message)
        self.threads = threads
        self.noise = noise
        self.speed = speed
        self.slower = slower
        self.realtime = realtime
        self._noise_stream = random.Random(seed if seed >= 0 else None)
        self._misbehave = dict(_misbehave_items(misbehave))
        # Noise and misbehaviour are what happens to a device, not what it is: state, not identity.
        self._device = Device(
            name="fake",
            runtime="fake",
            isa="block16",
            threads=threads,
            options=(("speed", str(float(speed))),),
            state={"noise": str(float(noise)), "seed": str(seed), "misbehave": misbehave}
            | ({"address": address} if address else {}),
        )

    @property
    def device(self) -> Device:
        """The fake device; its speed and threads are identity, noise and misbehaviour are state."""
        return self._device

    def law_ms(self, op: Op) -> float:
        """The truth for this device: ``law_ms`` at its threads and speed."""
        return law_ms(op, threads=self.threads) / self.speed * self.slower

    def interference(self) -> float:
        """Next factor of the noise stream, at least 1."""
        return 1.0 + self.noise * self._noise_stream.expovariate(1.0)

    def misbehaviour(self, op: Op) -> str:
        """Action that ``op`` was told to take; empty to run it."""
        return self._misbehave.get(op.kind) or self._misbehave.get(op.digest, "")

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """Read a JSON list of Ops as a chain of layers, closed by the ``session`` Op.

        An ONNX file is executed as it is written: this device's runtime optimises nothing.

        Args:
            model: the JSON file, in which a ``session`` Op is replaced, or an ONNX file.
            sizes: a JSON file fixes all sizes, so this may only repeat them: ``{"batch": n}``.

        Raises:
            ModelFormatError: if the file cannot be read or is not such a list.
            InvalidInputError: if ``sizes`` says something else than the file.
        """
        if Path(model).suffix == ".onnx":
            return _as_written(Path(model), sizes)
        ops = _read_ops(Path(model))
        for name, size in sizes.items():
            if name != "batch" or size != ops[0].batch:
                message = (
                    f"{model} is a list of Ops with fixed sizes (batch={ops[0].batch}), so "
                    f"{name}={size} cannot be bound. Leave it out."
                )
                raise InvalidInputError(message)
        session = session_op(len(ops[0].inputs), len(ops[-1].outputs))
        tensors = ["input", *(f"{op.kind}{i}" for i, op in enumerate(ops))]
        layers = [
            Layer(name=written, op=op, inputs=(read,), outputs=(written,), covers=(written,))
            for op, (read, written) in zip(ops, pairwise(tensors), strict=True)
        ]
        layers.append(Layer(name="session", op=session))
        return Network(
            name=Path(model).stem,
            layers=tuple(layers),
            inputs={"input": ops[0].inputs[0] if ops[0].inputs else ()},
            outputs=(tensors[-1],),
            source="lowered",
        )

    def load_op(self, op: Op) -> FakeWorkload:
        """Make one Op ready.

        Raises:
            UnsupportedOpError: if ``op`` is no kernel, or was told to be unsupported.
        """
        if self.misbehaviour(op) == "unsupported":
            message = f"The fake device was told not to support {op.label!r} ({op.digest})."
            raise UnsupportedOpError(message)
        return FakeWorkload(self, (op,))

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> FakeWorkload:
        """Make a whole JSON list of Ops ready; one run takes the sum of its Ops and one session."""
        return FakeWorkload(self, self.lower(model, sizes).ops)


def write_model(path: Path, ops: Iterable[Op]) -> Path:
    """Write the fake device's model file: a JSON list of Ops.

    Args:
        path: file to write, ending in ``.json``.
        ops: what the model executes, in order, the ``session`` Op excepted.

    Returns:
        ``path``.
    """
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(ops)), indent=1))
    return path


def _misbehave_items(text: str) -> Iterable[tuple[str, str]]:
    """``(kind or digest, action)`` pairs of the option."""
    for item in filter(None, (part.strip() for part in text.split(","))):
        action, _, whom = item.partition(":")
        if not whom or action not in {"unsupported", *MISBEHAVIOURS}:
            message = (
                f"{item!r} is no misbehaviour. Expected action:kind or action:digest, "
                f"with an action of: unsupported, {', '.join(MISBEHAVIOURS)}."
            )
            raise InvalidInputError(message)
        yield whom, action


def _as_written(path: Path, sizes: Mapping[str, int]) -> Network:
    from costmodel.readers.onnx import read_onnx

    network = read_onnx(path, dict(sizes))
    session = session_op(len(network.inputs), len(network.outputs))
    layers = (*network.layers, Layer(name="session", op=session))
    return replace(network, layers=layers, source="lowered")


def _read_ops(path: Path) -> tuple[Op, ...]:
    hint = "The fake device runs a JSON file that holds a list of Ops (see write_model), or ONNX."
    try:
        ops = _DECODER.decode(path.read_bytes())
    except OSError as error:
        message = f"Cannot read {path}: {error.strerror}. {hint}"
        raise ModelFormatError(message) from error
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        message = f"{path} is not a list of Ops: {error}. {hint}"
        raise ModelFormatError(message) from error
    ops = tuple(op for op in ops if op.kind != SESSION)
    if not ops:
        message = f"{path} holds no Op. {hint}"
        raise ModelFormatError(message)
    for number, op in enumerate(ops):
        try:
            _require_shapes(op)
        except UnsupportedOpError as error:
            message = f"Op {number} of {path}: {error}"
            raise ModelFormatError(message) from error
    return ops
