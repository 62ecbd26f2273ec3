"""PyTorch modules and programs: sizes, dynamic ones among them, and the module left as it was.

Needs PyTorch, which the other tests do not: ``pip install '.[torch]'``, then
``pytest tests/costmodel/readers/test_torch.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import costmodel as cm
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.sizes import OpenSizesError

torch = pytest.importorskip("torch", reason="needs the torch extra")
pytest.importorskip("onnxscript", reason="needs the torch extra")
pytestmark = pytest.mark.filterwarnings("ignore")
nn = torch.nn


class Scaled(nn.Module):  # type: ignore[name-defined]
    """A convolution, whose result is scaled by another input, and a layer on its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Any, scale: Any) -> Any:
        x = torch.relu(self.norm(self.conv(image))) * scale
        return self.head(self.drop(x.mean((2, 3))))


def conv_flops(height: int, width: int, batch: int = 1) -> int:
    return 2 * batch * (height * width * 8 * 3 * 9 + 8 * 5)


def flops(model: Any, **settings: Any) -> dict[str, float]:
    found = cm.predict(model, cost="flops", **settings)
    assert not found.unpriced
    totals: dict[str, float] = {}
    for layer in found.layers:
        totals[layer.op.kind] = totals.get(layer.op.kind, 0.0) + layer.price
    return totals


def products(totals: dict[str, float]) -> float:
    return sum(totals.get(kind, 0.0) for kind in ("conv", "gemm", "matmul"))


EXAMPLE = (torch.zeros(1, 3, 16, 16), torch.ones(1))


@pytest.mark.parametrize(
    "example",
    [
        EXAMPLE,
        tuple(tensor.numpy() for tensor in EXAMPLE),
        {"image": EXAMPLE[0], "scale": EXAMPLE[1]},
    ],
    ids=["tensors", "arrays", "named"],
)
def test_a_module_is_read_with_an_example(example: Any) -> None:
    model = Scaled().train()
    model.norm.eval()
    assert products(flops(model, example=example)) == conv_flops(16, 16)
    assert (model.training, model.conv.training, model.norm.training) == (True, True, False)


def test_a_single_tensor_is_an_example_and_other_sizes_are_bound() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    found = [
        flops(model, example=torch.zeros(1, 3, 16, 16), sizes=sizes)["conv"]
        for sizes in ({}, {"input:2": 32}, {"batch": 4}, {"input": (2, 3, 8, 8)})
    ]
    assert found == [found[0], 2 * found[0], 4 * found[0], found[0] / 2]
    with pytest.raises(InvalidInputError, match="no open dimension 'hight'"):
        flops(model, example=torch.zeros(1, 3, 16, 16), sizes={"hight": 3})


def test_token_ids_keep_their_type() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    example = torch.ones((1, 7), dtype=torch.long)
    assert products(flops(model, example=example, sizes={"input:1": 14})) == 2 * 14 * 4 * 2


def test_an_example_is_asked_for() -> None:
    with pytest.raises(InvalidInputError, match=r"Scaled does not say what it takes.*example="):
        flops(Scaled())
    with pytest.raises(InvalidInputError, match="no tensor in the example"):
        flops(Scaled(), example="image")


@pytest.fixture
def program() -> Any:
    batch, height = torch.export.Dim("batch"), torch.export.Dim("height", min=8, max=64)
    shapes = {"image": {0: batch, 2: height}, "scale": {}}
    example = (torch.zeros(2, 3, 16, 16), torch.ones(1))
    return torch.export.export(Scaled().eval(), example, dynamic_shapes=shapes)


def test_a_program_and_its_file_have_open_sizes(program: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    for model in (program, path, str(path)):
        with pytest.raises(OpenSizesError, match=r"image: \[s\d+, 3, s\d+, 16\]"):
            flops(model)
        sizes = {"image:2": 32, "batch": 4}
        assert products(flops(model, sizes=sizes)) == conv_flops(32, 16, 4)
        with pytest.raises(InvalidInputError, match="from 8 to 64, so it cannot be 128"):
            flops(model, sizes={"image:2": 128})


def test_a_dimension_that_is_open_as_traced_may_be_1(tmp_path: Path) -> None:
    shapes = {"image": {0: torch.export.Dim.AUTO, 3: torch.export.Dim.DYNAMIC}, "scale": {}}
    example = (torch.zeros(2, 3, 16, 16), torch.ones(1))
    program = torch.export.export(Scaled().eval(), example, dynamic_shapes=shapes)
    assert products(flops(program, sizes={"image:3": 8})) == conv_flops(16, 8)


def test_what_is_pickled_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    for name in ("net.pt", "net.pth", "net.ckpt"):
        torch.save({"a": Trap()}, tmp_path / name)
        with pytest.raises(InvalidInputError, match=r"pickled.*torch\.export\.save"):
            flops(tmp_path / name)
    torch.save({"a": Trap()}, tmp_path / "net.pt2")
    with pytest.raises(ModelFormatError, match=r"torch\.export\.save"):
        flops(tmp_path / "net.pt2")
    assert not (tmp_path / "sprung").exists()


def test_random_stacks_are_counted_as_they_were_built() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        channels, size, layers, macs = 3, 16, [], 0
        for _ in range(int(rng.integers(1, 4))):
            width, kernel = int(rng.integers(1, 9)), int(rng.choice([1, 3]))
            layers += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.ReLU()]
            macs += size * size * width * channels * kernel * kernel
            channels = width
        found = flops(nn.Sequential(*layers), example=torch.zeros(1, 3, size, size))
        assert products(found) == 2 * macs


def test_work_that_depends_on_data_is_told() -> None:
    class Branching(nn.Module):  # type: ignore[name-defined]
        def forward(self, x: Any) -> Any:
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(ModelFormatError, match=r"Branching cannot be converted.*torch\.cond"):
        flops(Branching(), example=torch.zeros(1, 4))
