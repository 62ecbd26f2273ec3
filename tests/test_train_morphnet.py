"""The example of the eight steps runs from end to end, on images made here."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import images
import train_morphnet

from morphnet_core.structure import Structure

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in the form of Fashion-MNIST, whose classes differ in brightness."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for stem, count in (("train", 256), ("t10k", 64)):
        classes = np.arange(count) % 10
        pixels = random.integers(0, 60, (count, 28, 28)) + 18 * classes[:, None, None]
        parts = (
            ("images-idx3", (2051, count, 28, 28), pixels),
            ("labels-idx1", (2049, count), classes),
        )
        for part, head, values in parts:
            data = np.array(head, ">i4").tobytes() + values.astype(np.uint8).tobytes()
            (folder / f"{stem}-{part}-ubyte.gz").write_bytes(gzip.compress(data))
    return folder


def test_the_eight_steps_work_in_their_order(
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(images, "FOLDER", image_folder)
    train_morphnet.main(
        [
            *("--learn-epochs", "1", "--epochs", "1", "--batch", "32", "--strength", "8"),
            *("--threshold", "0.8", "--blocks", "1"),
            *("--out", str(tmp_path)),
        ]
    )
    printed = capsys.readouterr().out
    structure = Structure.load(tmp_path / "learned_structure" / "alive_1")
    kept = [layer.count for layer in structure.layers.values()]
    whole = [layer.of for layer in structure.layers.values()]
    assert sum(kept) < sum(whole)
    shares = [float(line.split()[2]) for line in printed.splitlines() if "Shrunk to" in line]
    assert 0 < shares[0] < 1
    assert "Expanded by" in printed
    assert (tmp_path / "shrunk_0.keras").exists()
    assert (tmp_path / "morphed_0.keras").exists()


def test_missing_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"train-images-idx3-ubyte\.gz is missing. Set MORPHNET_"):
        train_morphnet.main(["--out", str(tmp_path)])
