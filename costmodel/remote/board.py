"""Board: a device that stays one device although links to it come and go."""

from __future__ import annotations

import base64
import getpass
import os
import platform
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from costmodel.errors import DeviceAwayError, LinkLostError, LockedError, RemoteError
from costmodel.remote.answers import checked_event
from costmodel.remote.deploy import Place, deploy_agent
from costmodel.remote.describe import hardware_name
from costmodel.remote.link import AgentEndedError, AnswerError, Json, Link
from costmodel.remote.pack import agent_digest
from costmodel.remote.specs import Spec
from costmodel.remote.transport import Transport

#: Names, to processes that this one starts, the run that they belong to, and what it has reached.
OWNER, _REACHED = "COSTMODEL_REMOTE_OWNER", "COSTMODEL_REMOTE_REACHED"
#: First wait before another try, its growth, and the longest, in seconds.
_WAIT_S, _WAIT_GROWTH, _MOST_WAIT_S = 0.5, 2.0, 15.0
#: Agents that may end one after the other without having said a word.
_MOST_DEATHS = 4
#: Deaths at one step before the step is given up.
MOST_STRIKES = 2
_PIECE = 1 << 20
_LOOK_S = 0.2
_PUT_TRIES = 3
#: What must be the same before and after a broken link.
_IDENTITY: Mapping[str, Callable[[Json], object]] = {
    "hardware": hardware_name,
    "processor": lambda facts: facts["machine"],
    "caches": lambda facts: facts["caches"],
}


class StoppedError(Exception):
    """The user wants an end while there is no link."""


@dataclass(slots=True, kw_only=True)
class Patience:
    """How long a lost link is waited for, and who is told.

    Attributes:
        reconnect_s: longest time without a link, in seconds.
        note: called with a sentence for people.
        stopping: set when the user wants an end.
    """

    reconnect_s: float = 300.0
    note: Callable[[str], None] = lambda _: None
    stopping: threading.Event = field(default_factory=threading.Event)


class Board:
    """The agent on one device: requests, files and orders, over as many links as it takes.

    Args:
        transport: the way to the device.
        place: what goes where there.
        make_setup: what the agent must know to time anything, from its facts.
        patience: with lost links.
    """

    def __init__(
        self,
        transport: Transport,
        place: Place,
        make_setup: Callable[[Json], Json],
        patience: Patience,
    ) -> None:
        self._transport = transport
        self._place = place
        self._make_setup = make_setup
        self._link: Link | None = None
        self._given_up: RemoteError | None = None
        self._session = uuid.uuid4().hex
        self._owner = os.environ.setdefault(OWNER, uuid.uuid4().hex)
        self._seq = self._orders = 0
        self._replay: deque[Json] = deque()
        self._interrupted: str | None = None
        self._deaths = 0
        self.patience = patience
        self.facts: Json = {}
        self.state: dict[str, str] = {}

    @property
    def address(self) -> str:
        """How the user names the device."""
        return self._transport.address

    @property
    def link(self) -> Link:
        """The present link; made if there is none.

        Raises:
            LinkLostError: if the device cannot be reached, and never was.
            RemoteError: if it cannot be used, or stayed away too long.
            LockedError: if somebody else measures there.
        """
        if self._given_up is not None:
            raise self._given_up
        if self._link is None:
            if self.facts or os.environ.get(_REACHED) == self.address:
                self._reconnect(LinkLostError(f"{self.address}: there is no link."))
            else:
                self._connect()
        assert self._link is not None
        return self._link

    def close(self) -> None:
        """Let go of the device."""
        self._hang_up()
        self._transport.close()

    def ask(self, do: str, **fields: object) -> Json:
        """Send a request that may be repeated, over another link if this one breaks.

        Raises:
            AnswerError: if the runtime there refuses.
            RemoteError: if the device cannot be used.
        """
        while True:
            try:
                return self.link.ask(do, **fields)
            except LinkLostError as loss:
                if not self.facts:
                    raise
                self._reconnect(loss)
            except AnswerError as error:
                self._require_well(error)
                raise

    def ship(self, specs: Sequence[Spec]) -> None:
        """Send those files that the device does not have.

        Raises:
            RemoteError: if its disk is full, or files keep arriving damaged.
        """
        contents = {spec.digest: spec.content for spec in specs}
        for _ in range(_PUT_TRIES):
            answer = self.ask("have", files=list(contents))
            missing = [digest for digest in answer["missing"] if digest in contents]
            try:
                for pieces in _batches({digest: contents[digest]() for digest in missing}):
                    self.ask("put", pieces=pieces)
                    self.patience.note("")  # a large file on a slow link
            except AnswerError as error:
                trouble = error.text
                continue
            return
        message = f"{self.address}: files cannot be stored there: {trouble}."
        raise RemoteError(message)

    def carry_out(self, steps: Sequence[Json], shared: Mapping[str, object]) -> Iterator[Json]:
        """Have steps done, and give what happened, each event once, however often the link breaks.

        Args:
            steps: each with a ``step`` that no other of this board has.
            shared: what holds for all of them.

        Yields:
            Events: ``started``, ``scouted``, ``visited``, ``failed``, ``probed``, ``cooling``,
            ``cooled`` and at the end ``done``.

        Raises:
            StoppedError: if the user wants an end while there is no link.
            RemoteError: if the device cannot be used any more.
        """
        todo = {str(step["step"]): step for step in steps}
        strikes: dict[str, int] = {}
        is_ordered = is_told = False
        while True:
            try:
                if not is_ordered and not self._replay:
                    self._orders += 1
                    steps = list(todo.values())
                    self.link.ask("order", order=self._orders, steps=steps, **shared)
                    is_ordered = True
                if is_ordered and self.patience.stopping.is_set() and not is_told:
                    self.link.ask("stop")
                    is_told = True
                event = self._event()  # last: an event in hand must not be lost to a broken link
            except LinkLostError as loss:
                is_ordered = is_told = False
                self._reconnect(loss)
                yield from self._struck(todo, strikes)
                continue
            if event is None:
                continue
            if event["event"] == "done":
                if event["order"] != self._orders:
                    continue  # of an order that was given up
                if is_told or all(step["do"] == "probe" for step in todo.values()):
                    self.state = event["state"]
                    yield event
                    return
                is_ordered = False
            else:
                self._note_end(event, todo)
                yield event

    def _note_end(self, event: Json, todo: dict[str, Json]) -> None:
        """Strike a step that has ended off the list.

        Raises:
            RemoteError: if its failure concerns all others too.
        """
        if event["event"] == "failed":
            self._require_well(AnswerError(event["error"], event["text"]))
        if event["event"] in {"visited", "scouted", "failed"}:
            todo.pop(event["step"], None)

    def _struck(self, todo: dict[str, Json], strikes: dict[str, int]) -> Iterator[Json]:
        """Count a death of the agent against the step that it was at; give up the second time."""
        step, self._interrupted = self._interrupted, None
        if step is None or step not in todo:
            return
        strikes[step] = strikes.get(step, 0) + 1
        if strikes[step] >= MOST_STRIKES:
            del todo[step]
            text = f"the agent or the device died {strikes[step]} times at this row"
            yield {"event": "failed", "step": step, "error": "crashed", "text": text}

    def _event(self) -> Json | None:
        """Next event that was not seen before; those of a cut link first."""
        event = self._replay.popleft() if self._replay else self.link.event(_LOOK_S)
        if event is None or event["event"] == "tick":
            return event
        if event["event"] == "trouble":
            self._require_well(AnswerError(event["error"], event["text"]))
        seq = event.get("seq", 0)
        if seq <= self._seq:
            return None
        if seq != self._seq + 1:
            message = f"{self.address}: event {seq} came after {self._seq}."
            raise LinkLostError(message)
        self._seq = seq
        return event

    def _reconnect(self, loss: RemoteError) -> None:
        """Make a new link, as often as it takes.

        Raises:
            RemoteError: if the device stays away, or its agent keeps dying.
            StoppedError: if the user wants an end.
        """
        patience = self.patience
        begin, wait_s, tries = time.perf_counter(), _WAIT_S, 0
        while True:
            self._hang_up()
            self._deaths = self._deaths + 1 if isinstance(loss, AgentEndedError) else 0
            if self._deaths > _MOST_DEATHS:
                raise RemoteError(str(loss)) from loss
            away_s = time.perf_counter() - begin
            if away_s > patience.reconnect_s:
                message = (
                    f"{loss} {tries} tries in {away_s:.0f} s did not bring the link back. What is "
                    "finished is kept: run the same command to go on."
                )
                self._given_up = DeviceAwayError(message)
                raise self._given_up from loss
            patience.note(f"{loss} Connecting again.")
            if patience.stopping.wait(wait_s if tries else 0.0):
                raise StoppedError(str(loss))
            try:
                self._connect()
            except LinkLostError as error:
                loss = error
                tries += 1
                wait_s = min(wait_s * _WAIT_GROWTH if tries > 1 else wait_s, _MOST_WAIT_S)
                continue
            return

    def _connect(self) -> None:
        """Start the agent and take the device."""
        link = Link(self._transport, deploy_agent(self._transport, self._place))
        try:
            self._enter(link)
        except AgentEndedError as error:
            link.close()
            if self.facts:
                raise
            message = f"{error} The agent needs Python 3.8 or later there: python=PATH."
            raise RemoteError(message) from error
        except AnswerError as error:
            link.close()
            self._require_well(error)
            message = f"{self.address}: {error.text}."
            raise RemoteError(message) from error
        except BaseException:
            link.close()
            raise
        self._link = link
        self._deaths = 0
        os.environ[_REACHED] = self.address

    def _enter(self, link: Link) -> None:
        facts = link.ask("hello")
        if facts["digest"] != agent_digest():
            message = f"{self.address}: the agent there is damaged. Remove {facts['folder']}."
            raise LinkLostError(message)
        self._compare(facts)
        versions = self.facts.get("versions")
        if versions is None:
            # Before the device is taken: what imports here, and how, decides whether it can be.
            versions = link.ask("versions")
        setup = self._make_setup(facts)
        self.facts = facts | {"versions": versions}
        entered = link.ask(
            "enter",
            session=self._session,
            owner=self._owner,
            who=f"{getpass.getuser()} on {platform.node()}",
            name=hardware_name(facts),
            setup=setup,
            since=self._seq,
        )
        self.state = entered["state"]
        self._replay = deque(
            checked_event(self.address, event) for event in entered["events"] if "event" in event
        )
        # Shorter than what we have seen if the device lost its files: it counts on from there.
        self._seq = min(self._seq, entered["seq"])
        self._interrupted = None if entered["displaced"] else entered["interrupted"]

    def _compare(self, facts: Json) -> None:
        """Refuse to go on with another device behind the same address; tell of a restart."""
        if not self.facts:
            return
        for what, read in _IDENTITY.items():
            if read(facts) != read(self.facts):
                message = (
                    f"{self.address} is another device now: its {what} was {read(self.facts)!r} "
                    f"and is {read(facts)!r}. Attach the one that it was, or give this one a table "
                    "of its own."
                )
                raise RemoteError(message)
        if facts["boot"] != self.facts["boot"]:
            self.patience.note(f"{self.address} was started anew.")

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _require_well(self, error: AnswerError) -> None:
        """Raise what an answer means for the whole device; return if it concerns one row."""
        where = f"{self.address}: "
        if error.kind == "disk-full":
            message = f"{where}its disk is full: {error.text}. Free some, or name another: folder=."
            raise RemoteError(message) from error
        if error.kind == "held":
            short = f"{where}another profiler holds the device: {error.text}."
            message = (
                f"{short} Two at once would disturb each other's timings. Wait for it to end, then "
                "run the same command again."
            )
            raise LockedError(message, short=short) from error
        if error.kind == "no-runtime":
            message = (
                f"{where}the Python there cannot load what it needs: {error.text}. Install it "
                "there (python3 -m pip install numpy onnxruntime), name another Python "
                "(python=PATH), or give one to take along (bundle=FILE)."
            )
            raise RemoteError(message) from error


def _batches(files: Mapping[str, bytes]) -> Iterator[list[Json]]:
    """Files in pieces, as many in one message as fit."""
    batch: list[Json] = []
    room = _PIECE
    for digest, data in files.items():
        for offset in range(0, max(1, len(data)), _PIECE):
            piece = data[offset : offset + _PIECE]
            if batch and len(piece) > room:
                yield batch
                batch, room = [], _PIECE
            batch.append(
                {
                    "file": digest,
                    "offset": offset,
                    "data": base64.b64encode(piece).decode(),
                    "last": offset + _PIECE >= len(data),
                }
            )
            room -= len(piece)
    if batch:
        yield batch
