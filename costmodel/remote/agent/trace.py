"""Lowering on the device: the runtime's optimised graph and its trace, for the host to read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict

from costmodel.remote.agent.runtime import make_input, make_session
from costmodel.runners.ort.bound import feed_of, session_options

Spec = Dict[str, Any]


def optimise(setup: Spec, model: Path, folder: Path) -> list[str]:
    """Write the optimised graph of ``model`` into ``folder``, large weights beside it.

    Args:
        setup: the host's settings.
        model: a stored file.
        folder: gets ``optimised.onnx`` and ``weights.bin``.

    Returns:
        Names of the inputs that the model is fed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = session_options(setup["threads"], optimise=True)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    prefix = "session.optimized_model_external_initializers_"
    options.add_session_config_entry(prefix + "file_name", "weights.bin")
    options.add_session_config_entry(prefix + "min_size_in_bytes", str(setup["inline_bytes"]))
    session = make_session(str(model), options)
    return [item.name for item in session.get_inputs()]


def profile(setup: Spec, model: Path, folder: Path, runs: int) -> Spec:
    """Run an optimised graph as it is and write the runtime's trace into ``folder``.

    Args:
        setup: the host's settings.
        model: a stored file whose large weights lie in ``folder``.
        folder: where ``optimise`` wrote.
        runs: of the whole graph.

    Returns:
        ``feed``: shape and type of every input by name; ``trace``: name of the file.
    """
    here = folder / "executed.onnx"
    shutil.copyfile(str(model), str(here))
    options = session_options(setup["threads"], optimise=False)
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "trace")
    session = make_session(str(here), options)
    feed = feed_of(session, make_input)
    for _ in range(runs):
        session.run(None, feed)
    written = Path(session.end_profiling())
    events = json.loads(written.read_text(encoding="utf-8"))
    kernels = [event for event in events if event.get("cat") == "Node"]
    (folder / "trace.json").write_text(json.dumps(kernels), encoding="utf-8")
    written.unlink()
    shapes = {name: [list(value.shape), str(value.dtype)] for name, value in feed.items()}
    return {"feed": shapes, "trace": "trace.json"}
