"""The compiling process: JSON requests in, JSON answers out, one a line.

Started as ``python -m costmodel.runners.tpu_aot.child GENERATION DTYPE`` with an environment in
which the compiler looks for no TPU and asks nobody on the network; ends when its parent does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import msgspec

from costmodel.errors import CostModelError
from costmodel.runners.tpu_aot.messages import Answer, Estimate, Refusal, Request
from costmodel.streams import take_streams
from costmodel.timing.cores import stay_on

_LONGEST_REASON = 400
_READ = msgspec.json.Decoder(Request)


def answer(request: Request, generation: str, dtype: str) -> Answer:
    """Compile what is asked for; what is wrong with it becomes a refusal."""
    try:
        return Answer(estimate=_estimate(request, generation, dtype))
    except CostModelError as error:
        return Answer(refusal=Refusal.of(error))
    except Exception as error:  # the parent must hear of it, and this process can go on
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST_REASON]}"
        what = request.model or (request.op.label if request.op else "nothing")
        message = f"The compiling process failed at {what}: {text}"
        return Answer(refusal=Refusal.of(CostModelError(message)))


def _estimate(request: Request, generation: str, dtype: str) -> Estimate:
    from costmodel.runners.tpu_aot.compiler import compile_network, piece_cycles
    from costmodel.runners.tpu_aot.cycles import total_cycles, working
    from costmodel.runners.tpu_aot.network import estimate_model
    from costmodel.runners.tpu_aot.ops import piece_of

    if request.op is None:
        return estimate_model(Path(request.model), request.sizes, generation, dtype)
    network, stored = piece_of(request.op)
    if not request.alone:
        cycles, kernels = piece_cycles(network, stored, generation, dtype)
        return Estimate(cycles=cycles, kernels=kernels)
    compiled = compile_network(network, generation, dtype)
    return Estimate(
        cycles=total_cycles(compiled.module),
        kernels=len(working(compiled.module)),
        optimal_ms=compiled.optimal_ms,
    )


def _listen(requests: BinaryIO, waiting: queue.SimpleQueue[Request]) -> None:
    """Hear the parent while the compiler is busy; end at once when there is no parent."""
    for line in requests:
        waiting.put(_READ.decode(line))
    os._exit(0)


def main() -> int:
    """Serve one parent; never returns but by its end."""
    generation, dtype = sys.argv[1:]
    requests, answers = take_streams()
    # A profiler keeps its worker on one processor; compiling is no timing, so it takes any.
    stay_on(range(os.cpu_count() or 1))
    waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    while True:
        found = answer(waiting.get(), generation, dtype)
        answers.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
