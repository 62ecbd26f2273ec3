"""Asks a runtime about one model after another; started under an emulated processor.

Reads one JSON order a line and answers with one JSON line. Needs numpy and the runtime that it is
asked about, nothing else: the Python of a bundle has no more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

Order = dict[str, Any]


def optimise(order: Order) -> object:
    """ONNX Runtime's optimised graph, written into a folder; answers the inputs it is fed."""
    from costmodel.remote.agent import trace

    return trace.optimise(order["setup"], Path(order["model"]), Path(order["folder"]))


def profile(order: Order) -> object:
    """Runs of an optimised graph; answers its inputs and the name of the trace."""
    from costmodel.remote.agent import trace

    folder = Path(order["folder"])
    return trace.profile(order["setup"], Path(order["model"]), folder, order["runs"])


def lite(order: Order) -> object:
    """LiteRT's list of what it executes, the delegate taking every operator by itself."""
    from ai_edge_litert import interpreter

    made = interpreter.Interpreter(
        model_content=Path(order["model"]).read_bytes(),
        num_threads=1,
        experimental_disable_delegate_node_fusion=True,
    )
    made.allocate_tensors()
    return [
        {"op_name": item["op_name"], "outputs": [int(i) for i in item["outputs"]]}
        for item in made._get_ops_details()
    ]


def main() -> None:
    sys.path.extend(sys.argv[1:])  # folders of further packages
    actions = {"optimise": optimise, "profile": profile, "lite": lite}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"answer": actions[order["do"]](order)}
        except Exception as error:  # whatever a runtime raises goes back to who asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
