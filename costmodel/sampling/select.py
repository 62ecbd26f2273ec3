"""sample_ops: which Ops a profile measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from costmodel.errors import CostModelError, InvalidInputError
from costmodel.lite_model.detect import is_lite
from costmodel.model_rows import model_op
from costmodel.network import model_digest
from costmodel.onnx_model.file import open_model
from costmodel.onnx_model.inputs import sizes_of_each
from costmodel.op import MODEL, SESSION, Op
from costmodel.protocols import Runner
from costmodel.sampling.choose import (
    CONV_ROWS,
    LAYOUT_ROWS,
    choose_convolutions,
    choose_kernels,
    split_roles,
)
from costmodel.sampling.design import CONV_SHARE, design
from costmodel.sampling.lowered import Found, lower_probes, lower_together
from costmodel.sampling.probe import Probe
from costmodel.sampling.thin import thin
from costmodel.sizes import Sizes

#: Probes for each wished convolution row: some give a row that another gave before.
_SPARE = 1.12
#: How often the design is enlarged, by half each time, when it gave too few rows.
_GROWTHS = 3
#: Ops by design among which a chooser chooses, as a multiple of those wished; and fewest.
_CANDIDATES, _FEWEST_CANDIDATES = 4, 400
#: Chooses so many of some Ops.
Chooser = Callable[[Sequence[Op], int], list[Op]]
#: Share of channels that a thinned variant of a model keeps.
_KEEP = (0.3, 1.0)
#: Whole models by their number of inputs and outputs, whose fixed cost per run is measured.
_SESSIONS = (
    Probe(name="one", kind="relu", in_channels=8, size=(4, 4)),
    *(
        Probe(name=f"out{n}", kind="split", in_channels=2 * n, size=(4, 4), parts=n)
        for n in (2, 4, 12)
    ),
    *(
        Probe(name=f"in{n}", kind="concat", in_channels=2, out_channels=2, size=(4, 4), parts=n)
        for n in (2, 4)
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a profile measures.

    Attributes:
        ops: distinct Ops.
        model_jobs: a ``model`` row's Op and the file of its network, for each given model.
        own_jobs: the same for those of the profiler's own networks that the runtime takes.
        skipped: reasons by name, for each probe or thinned variant that the runtime did not take.
    """

    ops: tuple[Op, ...]
    model_jobs: tuple[tuple[Op, Path], ...] = ()
    own_jobs: tuple[tuple[Op, Path], ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def sample_ops(
    runner: Runner,
    samples: int,
    seed: int = 0,
    models: Sequence[Path] = (),
    sizes: Sizes | None = None,
    *,
    thinned: int = 2,
    own: Sequence[Path] = (),
    choose: Chooser | None = None,
) -> Sample:
    """Choose about ``samples`` Ops over what real networks use, and those of given models.

    The kernels of the profiler's own networks come first. Of the others six in ten are
    convolutions, spread over every path on which the runtime computes them; the rest are the other
    kernels, a few of each kind, and fixed costs of a run. What given models add comes on top. Ops
    stand in the order in which a short budget should take them.

    Args:
        runner: asked, by lowering, which Ops layers become.
        samples: wished rows; 0 for the models' own only.
        seed: same seed, same sample, as long as the runtime stays the same.
        models: files whose Ops are measured too, as are the networks as a whole.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``; each must be of
            use for one of the models.
        thinned: variants of each ONNX model with fewer channels, whose Ops are measured too, so
            that predictions hold where pruning leads.
        own: files of the profiler's own networks; their kernels count towards ``samples``.
        choose: chooses among many more Ops by design, where something is known of the device.

    Raises:
        InvalidInputError: if a number is negative, there is nothing to measure, or the runtime took
            none of the probes.
        ModelFormatError: if a model cannot be read or lowered.
    """
    if min(samples, seed, thinned) < 0 or not (samples or models):
        message = (
            "A sample needs a positive number of samples, or models, and no negative number. "
            f"Received: samples={samples}, seed={seed}, thinned={thinned}, models={len(models)}."
        )
        raise InvalidInputError(message)
    skipped: dict[str, str] = {}
    shares: dict[Op, float] = {}
    jobs: list[tuple[Op, Path]] = []
    sized = list(zip(models, sizes_of_each(models, sizes or {}), strict=True))
    for path, bound in sized:  # first, since a bad file should be told at once
        network = runner.lower(path, bound)
        for layer in network.layers:
            share = 0.0 if math.isnan(layer.share) else layer.share
            shares[layer.op] = shares.get(layer.op, 0.0) + share
        jobs.append((model_op(network.name, model_digest(path, bound), network.ops), path))
    given = _dearest(shares)
    near: dict[Op, None] = {}
    for path, bound in sized:
        for variant in range(0 if is_lite(path) else thinned):
            near.update(dict.fromkeys(_thinned_ops(runner, path, bound, seed, variant, skipped)))
    own_jobs = list(_own_jobs(runner, own, skipped))
    own_ops = {op: None for _, ops, _ in own_jobs for op in ops}
    designed: list[Op] = []
    if samples:
        # However many kernels the networks have, half of the rows are drawn freely.
        wished = max(samples - len(own_ops), math.ceil(samples / 2))
        designed = _designed(runner, wished, seed, skipped, choose)
    ops = dict.fromkeys([*given, *own_ops, *_dealt(designed, list(near))])
    return Sample(
        ops=tuple(op for op in ops if op.kind != MODEL),
        model_jobs=tuple(jobs),
        own_jobs=tuple((op, path) for op, _, path in own_jobs),
        skipped=skipped,
    )


def _dearest(shares: Mapping[Op, float]) -> list[Op]:
    """Kernels in the order in which they should be known where time is short.

    Fixed costs and the dearest kernel of every kind come first, so that nothing is without a price;
    then what takes most of the time.
    """
    ordered = sorted(shares, key=lambda op: (op.kind != SESSION, -shares[op]))
    firsts = {op.kind: op for op in reversed(ordered)}
    return list(dict.fromkeys([*(op for op in ordered if firsts[op.kind] is op), *ordered]))


def _own_jobs(
    runner: Runner, own: Sequence[Path], skipped: dict[str, str]
) -> Iterator[tuple[Op, tuple[Op, ...], Path]]:
    """Row, Ops and file of each own network that the runtime takes as a whole."""
    for path in own:
        try:
            network = runner.lower(path, {})
        except CostModelError as error:
            skipped[path.stem] = str(error)
            continue
        if network.unread:
            skipped[path.stem] = next(iter(network.unread.values()))
            continue
        row = model_op(path.stem, model_digest(path, {}), network.ops)
        yield row, network.ops, path


def _dealt(*lists: Sequence[Op]) -> list[Op]:
    """Lists merged evenly: any first part holds as large a share of each."""
    places = [
        ((index + 0.5) / len(items), number, op)
        for number, items in enumerate(lists)
        for index, op in enumerate(items)
    ]
    return [op for _, _, op in sorted(places, key=lambda item: item[:2])]


def _designed(
    runner: Runner,
    samples: int,
    seed: int,
    skipped: dict[str, str],
    choose: Chooser | None = None,
) -> list[Op]:
    if choose is not None:
        many = max(_CANDIDATES * samples, _FEWEST_CANDIDATES)
        candidates = _designed(runner, many, seed, skipped)
        fixed = [op for op in candidates if op.kind == SESSION][: max(2, samples // 20)]
        others = [op for op in candidates if op.kind != SESSION]
        return _dealt(fixed, choose(others, max(0, samples - len(fixed))))
    wished = max(1, round(CONV_ROWS * samples))
    probes = math.ceil(_SPARE * wished / CONV_SHARE)
    done = 0
    found: list[Found] = []
    for _ in range(1 + _GROWTHS):
        found.extend(lower_probes(runner, design(probes, seed)[done:], skipped))
        convs, layouts, others = split_roles(found)
        if len(convs) >= wished:
            break
        done, probes = probes, math.ceil(1.5 * probes)
    if not found:
        reason = next(iter(skipped.values()), "no reason was given")
        message = f"The runner could lower none of the {probes} probe layers. The first: {reason}"
        raise InvalidInputError(message)
    chosen = choose_convolutions(convs, wished)
    # Conversions of both directions take turns by being one queue per kind.
    moved = choose_kernels(layouts, round(LAYOUT_ROWS * samples))
    # Every prediction holds one such cost, so even the smallest table has some.
    fixed = _session_ops(runner, skipped)[: max(2, samples // 20)]
    rest = max(0, samples - len(chosen) - len(moved) - len(fixed))
    return _dealt(fixed, chosen, moved, choose_kernels(others, rest))


def _session_ops(runner: Runner, skipped: dict[str, str]) -> list[Op]:
    """The fixed cost of a run, for models with few and with many inputs and outputs."""
    found: dict[Op, None] = {}
    for probe in _SESSIONS:
        try:
            network = lower_together(runner, [probe])
        except CostModelError as error:
            skipped[probe.name] = str(error)
            continue
        found.update(dict.fromkeys(op for op in network.ops if op.kind == SESSION))
    return list(found)


def _thinned_ops(
    runner: Runner,
    path: Path,
    sizes: Mapping[str, int],
    seed: int,
    variant: int,
    skipped: dict[str, str],
) -> tuple[Op, ...]:
    """Ops of one thinned variant; none, with a reason, where the network cannot be thinned."""
    with TemporaryDirectory(prefix="costmodel-") as folder:
        target = Path(folder) / f"{path.stem}.onnx"
        try:
            model = thin(open_model(path), keep=_KEEP, seed=seed * 1000 + variant)
            target.write_bytes(model.SerializeToString())
            return runner.lower(target, sizes).ops
        except (CostModelError, onnx.shape_inference.InferenceError, ValueError) as error:
            skipped[f"{path.stem} thinned {variant}"] = str(error)
            return ()
