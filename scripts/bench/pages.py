"""Pages: one of each kind, how large it is, and how long a browser takes to open it.

    python scripts/bench/pages.py                    # writes docs/results/pages
    python scripts/bench/pages.py --pictures FOLDER  # also pictures of all, in both schemes

Needs the real networks beside the checkout, Chromium (scripts/tools) and the extras report and
keras. Networks are predicted from a shipped table and timed here, twice each, so their errors say
nothing; a morph of a small network is only predicted. Kernels of the table of 5,000 rows are
convolutions that the shipped table's regression has priced. A page is opened from disk, in a
browser that is up; it is open once all is drawn and painted.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import ledger
import numpy as np
import place

import costmodel as cm
import morphnet_core as mc
from costmodel.measurement import Measurement, Round
from costmodel.op import conv_op
from costmodel.shipped import shipped_profiles

sys.path.insert(0, str(ledger.ROOT / "tests" / "helpers"))

from browser import Browser
from chromium import find_chromium

SHIPPED = "amd-epyc-family-25-model-17/onnxruntime-float32"
#: Rows of the large table.
MANY = 5_000
#: Times that each page is opened; the first is left out, as the browser is then still starting.
OPENINGS = 6
WIDTHS = (1400, 400)


@dataclass(frozen=True, slots=True)
class Opened:
    """What became of one page.

    Attributes:
        kind: what it shows.
        megabytes: of the file.
        seconds: to open it, one per opening.
        errors: what it logged.
        requests: what it asked for outside itself.
        wider: windows, in pixels, that it does not fit.
    """

    kind: str
    megabytes: float
    seconds: tuple[float, ...]
    errors: tuple[str, ...]
    requests: tuple[str, ...]
    wider: tuple[int, ...]

    @property
    def median(self) -> float:
        """Of the seconds."""
        return statistics.median(self.seconds)


def large_table(small: cm.LatencyTable) -> cm.LatencyTable:
    """As many rows as a long profile has."""
    ops = [
        conv_op(
            in_channels=16 * (1 + number % 32),
            out_channels=16 * (1 + number // 32 % 32),
            size=(7 + 7 * (number // 1024),) * 2,
            kernel=((1, 1), (3, 3))[number % 2],
        )
        for number in range(MANY)
    ]
    prices = cm.fit(small).price(ops).values
    rows = [
        Measurement.from_rounds(
            op, [Round(number=n, quiet_ms=ms * (1 + n / 200), median_ms=ms) for n in range(4)]
        )
        for op, ms in zip(ops, map(float, prices), strict=True)
    ]
    return cm.LatencyTable(small.device, rows)


def morph_into(folder: Path, table: cm.LatencyTable) -> Path:
    """The folder of a morph of a small network, by prices alone."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((32, 32, 3)), *(
        layer
        for number in range(6)
        for layer in (
            layers.Conv2D(32 + 16 * number, 3, padding="same", name=f"conv{number}"),
            layers.BatchNormalization(),
            layers.ReLU(),
        )
    ), layers.GlobalAveragePooling2D(), layers.Dense(10)])  # fmt: skip
    random = np.random.default_rng(0)
    data = mc.Data(x=random.normal(size=(128, 32, 32, 3)), y=np.arange(128) % 10)
    mc.morph(
        model, data, table, target="60%", clock=None, search_epochs=1, finish="none", verbose=0,
        out=folder,
    )  # fmt: skip
    return folder


def write_pages(folder: Path) -> dict[str, Path]:
    """One page of each kind, and of shipped tables of other sorts of devices."""
    table = cm.LatencyTable.load(SHIPPED)
    models = place.real_models()
    net = max(models, key=lambda path: path.stat().st_size if "densenet" in path.name else 0)
    comparisons = cm.compare(models, table, rounds=2, other_device=True)
    (folder / "net.json").write_text(json.dumps(cm.predict(net, table).to_json()))
    (folder / "all.json").write_text(json.dumps([item.to_json() for item in comparisons]))
    sorts = ("tpu-v2", "iphone", "nvidia-k")
    others = [name for name in shipped_profiles() if name.startswith(sorts)]
    shown: dict[str, list[Any]] = {
        "table": [table],
        f"table of {MANY} rows": [large_table(table)],
        **{f"table {name}": [name] for name in others},
        f"prediction of {net.stem} with its table": [folder / "net.json", table],
        f"comparison of {len(comparisons)} networks": [folder / "all.json"],
        "morph": [morph_into(folder / "morph", table)],
    }
    return {
        kind: cm.write_page(*what, html=folder / f"{number}.html", title=kind)
        for number, (kind, what) in enumerate(shown.items())
    }


def opened(browser: Browser, kind: str, page: Path, pictures: Path | None) -> Opened:
    """Open one page some times, at its widest; look at it at every width and in both schemes."""
    browser.look(width=WIDTHS[0])
    seconds = tuple(browser.show(page) / 1e3 for _ in range(OPENINGS))[1:]
    errors, requests, wider = [], [], []
    for width in WIDTHS:
        for dark in (False, True):
            browser.look(width=width, dark=dark)
            browser.show(page)
            errors += browser.errors
            requests += browser.asked
            if browser.evaluate("document.documentElement.scrollWidth") > width:
                wider.append(width)
            if pictures is not None:
                scheme = "dark" if dark else "light"
                picture = pictures / f"{page.stem}-{width}-{scheme}.png"
                picture.write_bytes(browser.pixels())
    size = page.stat().st_size / 1e6
    return Opened(kind, size, seconds, tuple(errors), tuple(requests), tuple(wider))


def figures(found: Sequence[Opened]) -> list[ledger.Figure]:
    many = next(item for item in found if str(MANY) in item.kind)
    largest = max(found, key=lambda item: item.megabytes)
    slowest = max(found, key=lambda item: item.median)
    faults = sum(len(item.errors) + len(item.requests) + len(item.wider) for item in found)
    return [
        ledger.figure(
            "b-size", f"largest of {len(found)} pages: {largest.kind}", largest.megabytes, "MB",
            at_most=6.0,
        ),
        ledger.figure(
            "b-open", f"opening a {many.kind}, median of {OPENINGS - 1}", many.median, "s",
            at_most=2.0, repeatability=[min(many.seconds), max(many.seconds)],
        ),
        ledger.figure(
            "b-slowest", f"slowest page to open: {slowest.kind}", slowest.median, "s",
            repeatability=[min(slowest.seconds), max(slowest.seconds)],
        ),
        ledger.figure(
            "b-faults",
            "errors, requests to a network, and widths that a page does not fit, over "
            f"{len(found)} pages at {' and '.join(map(str, WIDTHS))} pixels, in light and dark",
            float(faults), exactly=0.0,
        ),
    ]  # fmt: skip


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write pictures here")
    pictures = parser.parse_args().pictures
    program = find_chromium()
    if program is None:
        message = "These figures need Chromium: run scripts/tools, or install it."
        raise SystemExit(message)
    ledger.require_clean_tree()
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pages = write_pages(Path(folder))
        with Browser(program, Path(folder) / "browser") as browser:
            version = browser.call("Browser.getVersion")["product"]
            found = [opened(browser, kind, page, pictures) for kind, page in pages.items()]
    rows = (
        f"{item.kind} | {item.megabytes:.2f} | {item.median:.2f} | "
        f"{min(item.seconds):.2f} to {max(item.seconds):.2f}"
        for item in found
    )
    ledger.write(
        "pages",
        topic="people",
        figures=figures(found),
        detail={
            "browser": version,
            "pages": [
                {"kind": item.kind, "megabytes": item.megabytes, "seconds": list(item.seconds),
                 "errors": list(item.errors), "requests": list(item.requests),
                 "wider": list(item.wider)}
                for item in found
            ],
        },
        notes=[
            ledger.table("page | MB | s to open, median | least to most", rows),
            f"{version}, headless, without a graphics card.",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
