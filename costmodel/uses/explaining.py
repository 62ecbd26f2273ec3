"""``explain``: where a network's milliseconds go, and which changes would bring some back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Unpack

from costmodel.clocking import DEFAULT_PLAN
from costmodel.device import Device
from costmodel.durable import write_lines
from costmodel.editing import Editable, load_editor
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.explanation.advice import Explanation
from costmodel.explanation.checking import Checked, check, ranked, time_checked
from costmodel.explanation.even import Even, price_evenly
from costmodel.explanation.losses import Rates, find_losses, rates_of
from costmodel.explanation.proposals import Proposal, propose, propose_skips
from costmodel.explanation.steps import block_of, find_steps
from costmodel.network import Network
from costmodel.onnx_model.inputs import sizes_of_each
from costmodel.prediction import Prediction, price_network
from costmodel.profiler import Plan, Progress
from costmodel.protocols import CostModel, NetworkLaw
from costmodel.readers.written import read_written
from costmodel.registry import Option
from costmodel.uses.matching import Choice, clock_of
from costmodel.uses.models import Model, require_onnx
from costmodel.uses.predicting import kernel_reader
from costmodel.uses.pricing import Pricing, Terms, spelled_out
from costmodel.uses.tables import Table

#: Advices that are looked for, and the least share of the network's time that is worth a word.
MOST, LEAST_GAIN = 10, 0.01
#: Share of that which rules must guess before the runtime is asked.
_GUESSED = 0.7


@spelled_out
def explain(
    model: Model,
    table: Table | None = None,
    *,
    most: int = MOST,
    least_gain: float = LEAST_GAIN,
    verify: bool = False,
    fix: str | Path | None = None,
    rounds: int | None = None,
    progress: Progress | None = None,
    **terms: Unpack[Terms],
) -> Explanation:
    """Say where a network's time goes and which changes would bring some of it back.

    Every advice is checked: the changed network is written, the runtime is asked what it executes
    (or rules are, where it is not at hand), and that is priced. With ``verify`` both networks are
    timed as well, in turns, by the profiler's own protocol.

    Args:
        model: as for ``predict``, TensorFlow Lite files excepted.
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        most: advices to check and list.
        least_gain: share of the network's time that an advice must bring to be listed.
        verify: time the network and every changed one.
        fix: file to write the network to with everything that keeps its function.
        rounds: visits to every network that is timed; 12 by default.
        progress: who is told how far the timing is.
        **terms: as for ``predict``: ``cost`` in milliseconds, ``runner`` to ask and to time with.

    Returns:
        What can be printed: ``advices`` with their gains, ``losses`` on kernels, ``steps`` of
        channels, ``fixed``, the file that was written.

    Raises:
        InvalidInputError: for files, tables or options that cannot be used; with ``verify``, where
            the table's device is not at hand.
        ModelFormatError: if the model cannot be read.
        DeviceMismatchError: if the runner that was asked for is another device than the table's.

    >>> import onnx
    >>> net = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> found = explain(net, "amd-epyc-family-25-model-17/onnxruntime-float32-t2")
    >>> found.model, found.advices
    ('tiny', ())
    """
    if most < 0 or not 0 <= least_gain < 1:
        message = f"most must be >= 0, least_gain in [0, 1). Received: {most}, {least_gain}."
        raise InvalidInputError(message)
    pricing = Pricing.of(table, terms)
    pricing.require_threads()
    device = pricing.device
    clock = _clock(pricing.choice, device) if verify else None
    files = pricing.files([model])
    with files as ((path,), bound), tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
        require_onnx(path, "explaining")
        (own,) = sizes_of_each([path], bound)
        read = kernel_reader(pricing.choice, device)
        network = read(path, own)
        # A fit takes seconds, so what is wrong with the model is said before.
        cost = _in_ms(pricing.cost_model())
        desk = _Desk(
            path=path,
            sizes=own,
            network=network,
            read=read,
            cost=cost,
            device=device,
            law=pricing.law(cost),
        )
        rates = rates_of(pricing.table)
        found, checked = desk.explanation(rates, most, least_gain, Path(folder))
        if clock is not None:
            checked = time_checked(
                path,
                checked,
                runner=clock[0],
                options=clock[1],
                sizes=bound,
                plan=_fair_plan(rounds),
                progress=progress,
            )
            measured_on = device.label if device is not None and checked else ""
            advices = tuple(item.advice for item in checked)
            found = replace(found, advices=advices, measured_on=measured_on)
        return found if fix is None else replace(found, fixed=_fixed(checked, Path(fix)))


def _in_ms(cost: CostModel) -> CostModel:
    """The cost model itself.

    Raises:
        InvalidInputError: if it does not price in milliseconds.
    """
    if cost.unit == "ms":
        return cost
    message = (
        f"The cost model {cost.name!r} prices in {cost.unit}, which tells of no device. Use one in "
        "milliseconds: a table's regression, or a datasheet's roofline."
    )
    raise InvalidInputError(message)


def _fair_plan(rounds: int | None) -> Plan:
    """As many rounds for every network, settled or not: of more the least is less."""
    plan = DEFAULT_PLAN.with_rounds(rounds)
    return replace(plan, min_rounds=plan.rounds)


def _clock(choice: Choice, device: Device | None) -> tuple[str, dict[str, Option]]:
    """The runner to verify with.

    Raises:
        InvalidInputError: where the device is not at hand; says why.
    """
    clock, reason = clock_of(choice, device)
    if clock is None:
        message = (
            f"Nothing can be verified here: {reason}. Leave --verify out, or go to the device."
        )
        raise InvalidInputError(message)
    return clock


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """All that is needed to look at one file and at changes of it.

    Attributes:
        path: the network.
        sizes: of its open dimensions.
        network: its kernels.
        read: finds the kernels of a file.
        cost: prices them.
        device: whose numbers these are.
        law: from kernels to networks.
    """

    path: Path
    sizes: Mapping[str, int]
    network: Network
    read: Callable[[Path, Mapping[str, int]], Network]
    cost: CostModel
    device: Device | None
    law: NetworkLaw | None

    def explanation(
        self, rates: Rates | None, most: int, least_gain: float, folder: Path
    ) -> tuple[Explanation, list[Checked]]:
        """What there is to say, and the files that advices were checked on, in the same order."""
        before = price_network(
            self.network, self.cost, self.law, device=self.cost.device or self.device
        )
        _require_total(before)
        editable, notes = self._editable()
        block = block_of(self.device)
        steps = find_steps(editable, block) if editable is not None else ()
        written = read_written(self.path, self.sizes)
        names = {layer.name for layer in written.layers}
        losses = find_losses(before, self.device, self.law, rates, written=names)
        proposals = [
            *propose(editable, losses, steps, block),
            *propose_skips(written, self.network, before),
        ]
        least_ms = least_gain * before.total
        checked, unchecked = check(
            self.path,
            _likely(proposals, _GUESSED * least_ms, most),
            shown_ms=before.total,
            before=self._even(self.network),
            predict=lambda file: self._even(self.read(file, self.sizes)),
            editable=editable,
            folder=folder,
        )
        worth = ranked([item for item in checked if item.advice.gain_ms >= least_ms])
        found = Explanation(
            prediction=before,
            advices=tuple(item.advice for item in worth),
            losses=losses,
            steps=steps,
            block=block,
            notes=(*notes, *unchecked),
        )
        return found, worth

    def _even(self, network: Network) -> Prediction:
        return price_evenly(network, Even(self.cost), self.law)

    def _editable(self) -> tuple[Editable | None, list[str]]:
        """The network as its channels can be changed; None and why not."""
        try:
            editor = load_editor()
            opened = editor.open(
                self.path, self.sizes, cost=Even(self.cost), device=self.device, law=self.law
            )
        except ModelFormatError as error:
            return None, [f"No advice on channels: {error}"]
        return opened, []


def _likely(proposals: Sequence[Proposal], least_ms: float, most: int) -> list[Proposal]:
    """Those that rules say are worth checking, the most milliseconds first."""
    found = [item for item in proposals if item.guess_ms >= least_ms]
    return sorted(found, key=lambda item: -item.guess_ms)[:most]


def _require_total(before: Prediction) -> None:
    """Raise ``InvalidInputError`` unless enough of a network has a price to tell more from less."""
    if isnan(before.total):
        message = (
            f"{before}. Add its kernels to the table: costmodel profile --models "
            f"{before.model}.onnx --out TABLE.jsonl"
        )
        raise InvalidInputError(message)


def _fixed(checked: Sequence[Checked], path: Path) -> Path | None:
    """Write the best network that keeps the function; None where none is worth it."""
    for item in checked:
        if item.advice.proposal.keeps_function and item.advice.best_known_ms > 0:
            write_lines(path, [item.file.read_bytes()])
            return path
    return None
