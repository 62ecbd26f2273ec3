"""RemoteRunner: ONNX Runtime's CPU provider on a device that is reached through a transport."""

from __future__ import annotations

import base64
import hashlib
import itertools
import uuid
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from costmodel.device import Device
from costmodel.errors import (
    MISFORMED,
    CostModelError,
    InvalidInputError,
    ModelFormatError,
    RemoteError,
    UnsupportedOpError,
    first_line,
)
from costmodel.instruction_sets import find_instruction_set
from costmodel.network import Network
from costmodel.onnx_model.inputs import bound_model
from costmodel.onnx_model.nodes import Tensor
from costmodel.onnx_model.tensors import MAX_BYTES
from costmodel.op import SESSION, Op
from costmodel.profiler.messages import Event, Setup
from costmodel.profiler.worker import Visitor
from costmodel.protocols import Block
from costmodel.registry import KeepsOptions, checked_threads
from costmodel.remote.board import Board, Patience
from costmodel.remote.conductor import Conductor
from costmodel.remote.cores import choose_cores, parse_cores
from costmodel.remote.deploy import Place
from costmodel.remote.describe import cores_text, remote_device
from costmodel.remote.link import AnswerError, Json
from costmodel.remote.specs import (
    Spec,
    model_spec,
    op_spec,
    overhead_specs,
    runtime_setup,
)
from costmodel.remote.transport import Transport
from costmodel.runners.ort.optimised import lower, write_source
from costmodel.runners.ort.runner import num_replicas
from costmodel.runners.workload import BaseWorkload, require_outputs

#: Longest that loading or running one thing may take outside a profile, in seconds.
LIMIT_S = 600.0


@dataclass(kw_only=True)
class _Settings:
    """What an agent is told before it times anything.

    Attributes:
        threads: of each kernel.
        wanted: processors that the user wants.
        address: of the device.
        limits: times and temperatures.
        chosen: processors that are meant, once the device is known.
    """

    threads: int
    wanted: tuple[int, ...] | str
    address: str
    limits: dict[str, float]
    chosen: tuple[int, ...] = ()

    def make(self, facts: Json) -> Json:
        """The setup of an agent, from what it says about its machine."""
        self.chosen = choose_cores(self.wanted, facts, self.threads, self.address)
        overheads = [spec.fields for spec in self.overheads]
        # Without a choice of the user's, each agent takes other processors of the cluster.
        own = {"cores": list(self.chosen), "pick": not self.wanted, "overheads": overheads}
        return runtime_setup(self.threads) | self.limits | own

    @cached_property
    def overheads(self) -> tuple[Spec, Spec, Spec]:
        """Graphs that tell what a run costs besides its kernels."""
        return overhead_specs()


class RemoteRunner(KeepsOptions):
    """ONNX Runtime on another device; a ``Runner``, and the base of one for each transport.

    Args:
        transport: the way to the device.
        threads: intra-op threads of each kernel.
        cores: processors that work there: a list such as ``4-7``, or ``big``, ``middle`` or
            ``little``; empty for the fastest cluster that has enough.
        python: program there that runs the agent; empty to look for one.
        bundle: archive here that holds a Python for the device; empty for none.
        folder: where everything goes there; empty for the transport's choice.
        reconnect_s: longest that a lost link is waited for.
        max_temperature: above it, in degrees Celsius, the device must cool down first.
        cool_s: longest wait for that, at one time.
        emulated: whether the processor is emulated, so that no time is ``measured``.

    Raises:
        InvalidInputError: if a value cannot be used.
    """

    def __init__(  # noqa: PLR0913 - what a user may say about a board
        self,
        transport: Transport,
        *,
        threads: int = 1,
        cores: str | int = "",
        python: str = "",
        bundle: str = "",
        folder: str = "",
        reconnect_s: float = 300.0,
        max_temperature: float = 85.0,
        cool_s: float = 120.0,
        emulated: bool = False,
    ) -> None:
        for name, value in (("reconnect_s", reconnect_s), ("cool_s", cool_s)):
            if not 0 <= float(value) <= 86_400:
                message = f"{name} must be between 0 and 86400 seconds. Received: {value}."
                raise InvalidInputError(message)
        self._threads = checked_threads(threads)
        self._emulated = emulated
        self._settings = _Settings(
            threads=self._threads,
            wanted=parse_cores(str(cores)),
            address=transport.address,
            limits={
                "max_temperature": float(max_temperature),
                "cool_s": float(cool_s),
                "limit_s": LIMIT_S,
            },
        )
        place = Place(folder=str(folder), python=str(python), bundle=str(bundle))
        patience = Patience(reconnect_s=float(reconnect_s))
        self._board = Board(transport, place, self._settings.make, patience)
        self._replicas: dict[Op, int] = {}
        weakref.finalize(self, self._board.close)

    @cached_property
    def device(self) -> Device:
        """The device behind the agent; connects.

        Raises:
            RemoteError: if it cannot be reached or used; the text says what to mend.
            LockedError: if somebody else measures there.
            InvalidInputError: if it has no such processors.
        """
        _ = self._board.link
        facts = self._board.facts
        chosen = self._settings.chosen
        is_choice = bool(self._settings.wanted) or len(facts["clusters"]) > 1
        return remote_device(
            facts,
            address=self._board.address,
            version=facts["versions"]["onnxruntime"],
            threads=self._threads,
            cores=cores_text(chosen) if is_choice else "",
            emulated=self._emulated,
            state=self._board.state,
        )

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """The Ops that the runtime there executes for ``model``, from its own optimised graph."""
        written = bound_model(model, sizes)
        block = find_instruction_set(self.device.isa).own_block
        executor = _RemoteExecutor(self._board, model)
        try:
            return lower(written, model.stem, self._threads, block, executor)
        except CostModelError:
            raise
        except (*MISFORMED, DecodeError) as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            message = (
                f"{self._board.address}: what it says of {model} is not as ONNX Runtime writes it "
                f"({what}). Try again."
            )
            raise RemoteError(message) from error

    def load_op(self, op: Op) -> RemoteWorkload:
        """Rebuild one executed Op there, replicated when it is quick.

        Raises:
            UnsupportedOpError: if the Op cannot be rebuilt, or the runtime there rejects it.
        """
        replicas = self._replicas.get(op, 1)
        spec = op_spec(op, replicas)
        try:
            if op.kind != SESSION and op not in self._replicas:
                self._board.ship([spec, *self._settings.overheads])
                found = self._board.ask("scout", spec=spec.fields, limit_s=LIMIT_S)
                require_outputs(op, found["shapes"])
                replicas = self._replicas[op] = num_replicas(op, found["latency_ms"])
                spec = op_spec(op, replicas)
            return RemoteWorkload(self._board, [spec, *self._settings.overheads])
        except AnswerError as error:
            message = (
                f"ONNX Runtime on {self._board.address} rejects {op.label} ({op.implementation}): "
                f"{error.text}"
            )
            raise UnsupportedOpError(message) from error

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> RemoteWorkload:
        """Load a whole model there, optimised, with random inputs.

        Raises:
            ModelFormatError: if the file cannot be read, or the runtime cannot load or run it.
        """
        spec = model_spec(model, sizes)
        try:
            return RemoteWorkload(self._board, [spec])
        except AnswerError as error:
            raise _cannot_run(model, self._board, error) from error

    def delegate(self, setup: Setup, say: Callable[[Event], None]) -> Visitor:
        """Have a profile's visits made on the device, without a host in between."""
        self._settings.limits["limit_s"] = 0.8 * setup.timeout_ms / 1000.0
        return Conductor(self._board, setup, say, self._settings.overheads)

    def close(self) -> None:
        """Let go of the device; the next use takes it again."""
        self._board.close()


def _cannot_run(model: Path, board: Board, error: AnswerError) -> ModelFormatError:
    where = f"{model}: ONNX Runtime on {board.address}"
    return ModelFormatError(f"{where} cannot run this model: {error.text}")


class RemoteWorkload(BaseWorkload):
    """An Op or a model loaded on a device; a ``Workload``. Loaded anew when the agent was lost.

    Args:
        board: the device.
        specs: what to load, and then whatever it needs besides.

    Raises:
        AnswerError: if the runtime there refuses it.
    """

    _handles = itertools.count(1)

    def __init__(self, board: Board, specs: Sequence[Spec]) -> None:
        self._board = board
        self._specs = specs
        self._handle = f"{uuid.uuid4().hex}-{next(self._handles)}"
        self._load()

    def _load(self) -> None:
        self._board.ship(self._specs)
        fields = self._specs[0].fields
        self._board.ask("load", handle=self._handle, spec=fields, limit_s=LIMIT_S)

    def _block(self, min_ms: float) -> Block:
        """Time one stretch.

        Raises:
            UnsupportedOpError: if the runtime dies of it.
        """
        limit_s = LIMIT_S + min_ms / 1000.0
        for _ in range(2):
            try:
                found = self._board.ask(
                    "block", handle=self._handle, min_ms=min_ms, limit_s=limit_s
                )
            except AnswerError as error:
                if error.kind != "not-loaded":
                    message = f"{self._board.address}: {error.text}."
                    raise UnsupportedOpError(message) from error
                self._load()  # the agent is another one
                continue
            return Block(
                latency_ms=found["latency_ms"], wall_ms=found["wall_ms"], runs=found["runs"]
            )
        message = f"{self._board.address}: its agent lost what had been loaded, twice in a row."
        raise UnsupportedOpError(message)

    def _release(self) -> None:
        self._board.ask("close", handle=self._handle)


class _RemoteExecutor:
    """Lowering's hands on the device: what it writes there is fetched and read here."""

    def __init__(self, board: Board, model: Path) -> None:
        self._board = board
        self._model = model
        self._work = uuid.uuid4().hex

    def optimise(self, model: Any, target: Path) -> Collection[str]:
        """Have the optimised graph written there and fetch it."""
        digest = self._ship(write_source(model, target))
        found = self._ask("optimise", work=self._work, file=digest)
        target.write_bytes(self._fetch("optimised.onnx"))
        return list(found["inputs"])

    def profile(self, path: Path, runs: int) -> tuple[Sequence[Any], Mapping[str, Tensor]]:
        """Have an optimised graph run there and fetch the runtime's trace."""
        digest = self._ship(path)
        found = self._ask("profile", work=self._work, file=digest, runs=runs)
        events = self._fetch(found["trace"])
        self._board.ask("drop", work=self._work)
        feed = {
            name: Tensor(shape=tuple(shape), dtype=dtype)
            for name, (shape, dtype) in found["feed"].items()
        }
        try:
            return msgspec.json.decode(events, type=list[dict[str, Any]]), feed
        except (msgspec.MsgspecError, RecursionError) as error:
            message = f"{self._board.address}: its trace cannot be read ({error}). Try again."
            raise RemoteError(message) from error

    def _ship(self, path: Path) -> str:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._board.ship([Spec(fields={}, digest=digest, content=path.read_bytes)])
        return digest

    def _ask(self, do: str, **fields: object) -> Json:
        try:
            return self._board.ask(do, limit_s=LIMIT_S, **fields)
        except AnswerError as error:
            raise _cannot_run(self._model, self._board, error) from error

    def _fetch(self, name: str) -> bytes:
        content = b""
        while True:
            piece = self._ask("get", work=self._work, name=name, offset=len(content))
            try:
                data = base64.b64decode(piece["data"])
            except ValueError as error:
                raise self._damaged(name) from error
            content += data
            if len(content) >= piece["size"]:
                return content
            if not data or piece["size"] > MAX_BYTES:
                raise self._damaged(name)

    def _damaged(self, name: str) -> RemoteError:
        message = f"{self._board.address}: the file {name} does not arrive whole. Try again."
        return RemoteError(message)
