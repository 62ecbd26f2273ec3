"""Networks shown where people look: how much of their time is on nodes of their own graphs.

Networks with fused kernels, with nodes that have no name or another's, with functions of their own
and graphs inside nodes: of the onnx package, of the models beside a checkout, of the development
networks, and two written here. Each is predicted from a shipped table, once with the kernels that
the runtime executes and once with those foreseen by rule. Model Explorer's own adapter for ONNX
says which names it knows, its page and Perfetto's are opened in a headless browser. Nothing is
timed.

    pip install -e '.[viewers,dev]' && scripts/tools
    python scripts/bench/overlays.py                  # 6 minutes
    python scripts/bench/overlays.py --pictures DIR   # keeps what the browser shows
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ledger
import onnx
import place

import costmodel as cm
from costmodel.anticipation import anticipate_file
from costmodel.onnx_model.naming import NamedModel, named_model
from costmodel.onnx_model.walk import all_bodies
from costmodel.prediction import Prediction, price_network
from costmodel.protocols import CostModel
from costmodel.runners.ort.runner import OrtRunner
from costmodel.uses.showing import Overlay
from costmodel.viewers.placing import place as place_kernels

sys.path.insert(0, str(ledger.ROOT / "tests" / "helpers"))

from awkward_graphs import awkward_model, looped_model
from chromium import Chromium, find_chromium
from viewer_pages import model_explorer, page_of, perfetto, quiet

TABLE = "amd-epyc-family-25-model-17/onnxruntime-float32-t2"
THREADS = 2
#: Of the onnx package, of the models beside a checkout, and of the development networks.
LIGHT = ("light_densenet121", "light_shufflenet", "light_squeezenet")
REAL = ("mnist-8", "resnet20_cifar10", "ultraface_slim-320", "yunet_s_320")
MADE = (
    "keras-ConvNeXtTiny", "keras-MobileNetV3Small", "torchvision-efficientnet_b0",
    "torchvision-swin_t", "torchvision-vit_b_16",
)  # fmt: skip
#: Operators of nodes that multiply and add; the last two are executed as convolutions in places.
MULTIPLY = frozenset(
    {"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul", "BatchNormalization", "Mul"}
)
#: Share of the time that is to be on nodes.
WANTED = 0.99
#: Says which nodes Model Explorer makes of a file, by graph.
ASK = """
import json, sys
from model_explorer_onnx.main import ONNXAdapter
print()
for path in sys.argv[1:]:
    graphs = ONNXAdapter().convert(path, {})["graphs"]
    print(json.dumps({graph.id: [node.id for node in graph.nodes] for graph in graphs}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one network.

    Attributes:
        name: its file's stem.
        nodes: of its graph.
        renamed: those of them without a name of their own.
        inside: graphs inside nodes, and functions.
        kernels: that the runtime executes.
        fused: those of them that carry out several nodes.
        lowered: share of their predicted time that is on nodes of the graph.
        foreseen: the same of kernels by rule.
        apt: share of the predicted time of kernels that multiply that is on nodes that do.
        made: model and node data, as Model Explorer opens them.
        trace: as Perfetto opens it.
    """

    name: str
    nodes: int
    renamed: int
    inside: int
    kernels: int
    fused: int
    lowered: float
    foreseen: float
    apt: float
    made: Overlay
    trace: Path


def networks(folder: Path) -> Iterator[Path]:
    """Files of the networks, those written here among them."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    yield from (light / f"{name}.onnx" for name in LIGHT)
    yield from (place.MODELS / f"{name}.onnx" for name in REAL)
    yield from (place.folder("development") / f"{name}.onnx" for name in MADE)
    for model in (awkward_model(), looped_model()):
        path = folder / f"{model.graph.name}.onnx"
        onnx.save(model, path)
        yield path


def show(path: Path, folder: Path, cost: CostModel) -> Row:
    """Predict a network and show it on its graph."""
    runner = OrtRunner(threads=THREADS)
    lowered = price_network(runner.lower(path, {}), cost, device=cost.device)
    made = cm.overlay(lowered, path, folder / f"{path.stem}.json")
    foreseen = price_network(anticipate_file(path, {}, runner.device), cost, device=cost.device)
    by_rule = cm.overlay(foreseen, path, folder / f"{path.stem}.rule.json", shown=made.model)
    named = named_model(path)
    return Row(
        name=path.stem,
        nodes=len(named.names),
        renamed=named.renamed,
        inside=len(list(all_bodies(named.model))) - 1,
        kernels=len(lowered.layers) + len(lowered.unpriced) - 1,
        fused=sum(len(layer.covers) > 1 for layer in lowered.layers),
        lowered=made.share,
        foreseen=by_rule.share,
        apt=apt_share(lowered, named),
        made=made,
        trace=cm.trace(lowered, folder / f"{path.stem}.trace.json"),
    )


def apt_share(found: Prediction, graph: NamedModel) -> float:
    """Share of the predicted time of kernels that multiply that is on nodes that do."""
    times = {True: 0.0, False: 0.0}
    for name, kernels in place_kernels(found, graph).nodes.items():
        multiplies = graph.op_types[name] in MULTIPLY
        for kernel in kernels:
            if kernel.op is not None and kernel.op.macs and kernel.predicted > 0:
                times[multiplies] += kernel.predicted
    return times[True] / sum(times.values()) if any(times.values()) else 1.0


def strange(rows: Sequence[Row]) -> list[str]:
    """Names in node data that Model Explorer makes no node of."""
    models = [str(row.made.model) for row in rows]
    done = subprocess.run(
        [sys.executable, "-c", ASK, *models],
        capture_output=True,
        text=True,
        env=quiet(),
        check=True,
    )
    found = []
    for row, line in zip(rows, done.stdout.splitlines()[-len(rows) :], strict=True):
        graphs = {name: set(nodes) for name, nodes in json.loads(line).items()}
        for file in row.made.files:
            for graph, data in json.loads(file.read_text(encoding="utf-8")).items():
                found += [f"{row.name}: {n}" for n in data["results"] if n not in graphs[graph]]
    return sorted(set(found))


def opened(rows: Sequence[Row], folder: Path, pictures: Path | None) -> tuple[list[str], list[str]]:
    """Networks that Model Explorer shows with their numbers, and whose traces Perfetto shows.

    Raises:
        SystemExit: without a browser.
    """
    program = find_chromium()
    if program is None:
        message = "These figures need Chromium: run scripts/tools, or install it."
        raise SystemExit(message)
    graphs, traces = [], []
    with Chromium(program, folder / "profile") as browser, model_explorer() as home:
        for row in rows:
            try:
                browser.open(page_of(home, row.made.model, row.made.files))
                browser.wait("document.body.innerText.includes('Aggregated stats')")
                browser.evaluate("document.querySelector('.mat-icon-container.expand-all').click()")
                if largest(row.made.files[-1]) in browser.evaluate("document.body.innerText"):
                    graphs.append(row.name)
                keep(browser, pictures, f"{row.name}.graph")
            except RuntimeError as error:
                print(f"{row.name}: {error}", file=sys.stderr)
    for row in rows:
        # A page of its own for each: the viewer remembers traces.
        with (
            Chromium(program, folder / f"profile-{row.name}") as browser,
            perfetto(row.trace, folder) as address,
        ):
            try:
                browser.open(address)
                browser.wait("document.body.innerText.includes('predicted 1')")
                traces.append(row.name)
                keep(browser, pictures, f"{row.name}.trace")
            except RuntimeError as error:
                print(f"{row.name}: {error}", file=sys.stderr)
    return graphs, traces


def largest(file: Path) -> str:
    """The largest number of node data, as the viewer writes it."""
    (data,) = json.loads(file.read_text(encoding="utf-8")).values()
    numbers = [r["value"] for r in data["results"].values() if not isinstance(r["value"], str)]
    return f"{max(numbers):g}"


def keep(browser: Chromium, pictures: Path | None, name: str) -> None:
    """Write a picture of what is to be seen, if it is wanted."""
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        time.sleep(3.0)  # until the graph has been laid out
        browser.screenshot(pictures / f"{name}.png")


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--pictures", type=Path, help="folder for what the browser shows")
    pictures = parser.parse_args().pictures
    ledger.require_clean_tree()
    cost = cm.fit(TABLE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [show(path, folder, cost) for path in networks(folder)]
        unknown = strange(rows)
        graphs, traces = opened(rows, folder, pictures)
    count = len(rows)
    print(*unknown, sep="\n")
    ledger.write(
        "overlays",
        topic="people",
        figures=[
            ledger.figure(
                "a",
                f"of {count} networks, least share of a network's predicted time on its own nodes",
                min(row.lowered for row in rows),
                at_least=WANTED,
            ),
            ledger.figure(
                "a-rule",
                "the same of kernels foreseen by rule",
                min(row.foreseen for row in rows),
                at_least=WANTED,
            ),
            ledger.figure(
                "a-kind",
                "least share of the time of kernels that multiply that is on nodes that multiply",
                min(row.apt for row in rows),
            ),
            ledger.figure(
                "a-names",
                "names in node data that Model Explorer's adapter makes no node of",
                float(len(unknown)),
                exactly=0.0,
            ),
            ledger.figure(
                "a-graphs",
                f"networks of {count} that Model Explorer's page shows with their numbers",
                float(len(graphs)),
                exactly=float(count),
            ),
            ledger.figure(
                "a-traces",
                f"traces of {count} that Perfetto's page shows",
                float(len(traces)),
                exactly=float(count),
            ),
        ],
        detail={"table": TABLE, "unknown": unknown},
        notes=[
            ledger.table(
                "network | nodes | without a name | graphs inside, functions | kernels | fused | "
                "on nodes | by rule | products on products",
                (
                    f"{row.name} | {row.nodes} | {row.renamed} | {row.inside} | {row.kernels} | "
                    f"{row.fused} | {row.lowered:.1%} | {row.foreseen:.1%} | "
                    f"{row.apt:.1%}"
                    for row in rows
                ),
            ),
            f"Prices of the shipped table {TABLE}; nothing is timed. Kernels that the runtime "
            "added count for the node whose result they store another way. The fixed cost of a "
            "run is no kernel.",
        ],
    )


if __name__ == "__main__":
    main()
