"""Estimates of every TPU generation, as the profiles that are shipped.

Each kernel is compiled as it is inside a network (images of a batch of 8, channels last, operands
in fast memory); run again to resume. Compilations are kept in the user's cache, so that more rows
cost only their own.

    python scripts/tpu_profiles.py --ops 400 [--generations v5e v6e] [--jobs 2]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from costmodel.errors import CostModelError, UnsupportedOpError
from costmodel.op import Op, conv_op
from costmodel.profiler import Job, time_jobs
from costmodel.runners.tpu_aot.generations import GENERATIONS
from costmodel.runners.tpu_aot.ops import kernel_op
from costmodel.runners.tpu_aot.runner import TpuAotRunner, compiler_version
from costmodel.table import LatencyTable

PROFILES = Path(__file__).resolve().parents[1] / "profiles"
DTYPE = "bfloat16"
#: Widths around the multiples of 128, where the matrix unit needs another pass.
WIDTHS = (
    16, 32, 64, 96, 112, 127, 128, 129, 144, 160, 192, 224, 255, 256, 257, 288, 320, 352, 383, 384,
    385, 448, 511, 512, 513,
)  # fmt: skip
#: Images of convolutional networks by their side, with the channels that are usual there.
STAGES = (
    (112, (16, 24, 32, 48, 64, 96)),
    (56, (24, 32, 48, 64, 96, 128, 144, 192, 256)),
    (28, (32, 40, 64, 96, 128, 192, 240, 256, 384, 512)),
    (14, (64, 96, 128, 192, 256, 384, 512, 576, 768, 1024)),
    (7, (128, 160, 256, 320, 512, 640, 960, 1280, 2048)),
)
#: Elements of the largest operand of a row: more than that takes long to compile and tells nothing.
MOST = 40_000_000
#: Rows after which the sweeps of the larger batch begin.
MIXED_AFTER = 150

CARD = """# TPU {name}: {rows} kernels, {dtype}, estimated

**Relative static estimates, not measurements.** No TPU was used. Each row is the sum of
`estimated_cycles` that XLA's TPU compiler gives for the kernel, compiled ahead of time as it is
inside a network (batch {batches}, channels last, operands and results in the fast memory where they
fit), over the published clock. Use them to rank networks and widths; expect real times to be
longer, those of small kernels most. See docs/decisions/tpu-estimates.md for how such estimates
compare with real devices.

- device: TPU {name}; {clock:g} MHz ({source})
- compiler: {compiler}
- rows: {rows}, of which {failed} were rejected; provenance `estimated`
- made {day} by `python scripts/tpu_profiles.py --ops {rows} --generations {name}`
- look at it: `costmodel show {slug}`; its staircase over output channels, with steps behind
  multiples of the matrix unit's width: `costmodel show {slug} --plot staircase.svg`
- licence: as this project (Apache-2.0); the numbers are the output of a freely available compiler
"""


def staircases(batch: int) -> Iterator[Op]:
    """Sweeps over output and input channels."""
    for width in WIDTHS:
        yield _conv(64, width, 28, 3, batch=batch)
    for width in WIDTHS[::2]:
        yield _conv(128, width, 14, 1, batch=batch)
        yield _conv(width, 128, 28, 3, batch=batch)


def convolutions(rng: random.Random) -> Iterator[Op]:
    """Dense convolutions as networks have them."""
    while True:
        size, channels = rng.choice(STAGES)
        into, out = rng.choice(channels), rng.choice(channels)
        kernel = rng.choice((1, 1, 1, 3, 3, 3, 5, 7))
        stride = rng.choice((1, 1, 1, 2))
        batch = rng.choice((8, 8, 8, 32))
        yield _conv(into, out, size, kernel, stride=stride, batch=batch, relu=rng.random() < 0.7)


def depthwise(rng: random.Random) -> Iterator[Op]:
    """Depthwise convolutions."""
    while True:
        size, channels = rng.choice(STAGES)
        width, kernel = rng.choice(channels), rng.choice((3, 3, 5))
        yield _conv(width, width, size, kernel, stride=rng.choice((1, 1, 2)), groups=width)


def residuals(rng: random.Random) -> Iterator[Op]:
    """Convolutions that take in a sum with another branch."""
    while True:
        size, channels = rng.choice(STAGES[1:])
        op = _conv(rng.choice(channels), rng.choice(channels), size, rng.choice((1, 3)))
        words = rng.choice((("sum",), ("sum", "relu")))
        yield replace(op, inputs=(*op.inputs, *op.outputs), epilogue=words)


def products(rng: random.Random) -> Iterator[Op]:
    """Classifiers."""
    while True:
        into, out = rng.choice((256, 512, 960, 1280, 2048, 4096)), rng.choice((10, 100, 1000, 4096))
        batch = rng.choice((8, 32, 128))
        weights = ((into, out), (out,))
        yield Op(kind="gemm", inputs=((batch, into),), outputs=((batch, out),), weights=weights)


def pools(rng: random.Random) -> Iterator[Op]:
    """Windows without weights."""
    while True:
        size, channels = rng.choice(STAGES)
        width, kernel = rng.choice(channels), rng.choice((2, 3))
        kind = rng.choice(("max_pool", "average_pool", "global_average_pool"))
        read = (8, width, size, size)
        if kind == "global_average_pool":
            yield Op(kind=kind, inputs=(read,), outputs=((8, width, 1, 1),))
            continue
        pad = kernel // 2
        out = (size + 2 * pad - kernel) // 2 + 1
        yield Op(
            kind=kind,
            inputs=(read,),
            outputs=((8, width, out, out),),
            stride=(2, 2),
            pads=(pad,) * 4,
            attributes=(("kernel_shape", (kernel, kernel)),),
        )


def maps(rng: random.Random) -> Iterator[Op]:
    """Work element by element that no convolution took in."""
    while True:
        size, channels = rng.choice(STAGES)
        shape = (8, rng.choice(channels), size, size)
        kind = rng.choice(("add", "mul", "relu", "sigmoid"))
        inputs = (shape, shape) if kind in {"add", "mul"} else (shape,)
        yield Op(kind=kind, inputs=inputs, outputs=(shape,))


def _conv(into: int, out: int, size: int, kernel: int, *, relu: bool = True, **more: int) -> Op:
    return conv_op(
        in_channels=into,
        out_channels=out,
        size=(size, size),
        kernel=(kernel, kernel),
        epilogue=("relu",) if relu else (),
        **{"batch": 8, **more},  # type: ignore[arg-type]
    )


def design(count: int, seed: int = 0) -> list[Op]:
    """``count`` kernels; more of them begin with the fewer."""
    rng = random.Random(seed)
    families = (convolutions, convolutions, depthwise, residuals, products, pools, maps)
    streams = [family(random.Random(rng.random())) for family in families]
    found: dict[Op, None] = dict.fromkeys(staircases(8))
    later = list(staircases(32))
    while len(found) < count:
        for stream in streams:
            op = next(stream)
            if max(op.num_input_elements, op.num_output_elements) <= MOST:
                found[op] = None
        if later and len(found) > MIXED_AFTER:
            found[later.pop(0)] = None
    return [kernel_op(op, DTYPE) for op in found][:count]


def make(generation: str, ops: list[Op], jobs: int) -> Path:
    """Estimate ``ops`` for one generation and write its table and card."""
    runner = TpuAotRunner(generation=generation, dtype=DTYPE, jobs=jobs)
    out = (PROFILES / runner.device.slug).with_suffix(".jsonl")
    began = time.perf_counter()

    def told(finished: int, op: Op) -> None:
        if finished % 10 == 0:
            seconds = time.perf_counter() - began
            print(
                f"{generation}: {finished} of {len(ops)}, {seconds:.0f} s: {op.label}", flush=True
            )

    found = runner.estimate_all(ops, told)
    runner.close()
    for error in found.values():
        # What is not the kernel's fault must not become a row that says so.
        if isinstance(error, CostModelError) and not isinstance(error, UnsupportedOpError):
            raise error
    report = time_jobs(
        [Job(op=op) for op in ops],
        runner="tpu-aot",
        options={"generation": generation, "dtype": DTYPE},
        out=out,
    )
    print(f"{generation}: {report.ok} rows, {report.failed} failed, {report.seconds:.0f} s")
    # What the device's state says now, whenever the table was begun.
    table = LatencyTable(runner.device, LatencyTable.load(out).values())
    table.save(out)
    chip = runner.generation
    card = CARD.format(
        name=chip.name,
        rows=len(table),
        failed=sum(not row.has_number for row in table.values()),
        dtype=DTYPE,
        batches=", ".join(map(str, sorted({op.batch for op in table}))),
        clock=chip.clock_mhz,
        source=chip.clock_source,
        compiler=compiler_version(),
        day=datetime.now(UTC).date().isoformat(),
        slug=runner.device.slug,
    )
    out.with_suffix(".md").write_text(card, encoding="utf-8")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", type=int, default=400, help="rows of each table")
    parser.add_argument("--generations", nargs="*", default=list(GENERATIONS))
    parser.add_argument("--jobs", type=int, default=0, help="compiling processes at once")
    chosen = parser.parse_args()
    ops = design(chosen.ops)
    for generation in chosen.generations:
        print(make(generation, ops, chosen.jobs), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
