"""Images at another size keep their type, their range and their targets."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.errors import InvalidInputError
from morphnet_core.data import Data
from morphnet_core.data.sized import at_size, image_size

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_images_are_resized_and_all_else_stays(kind: str) -> None:
    x = (255 * np.random.default_rng(0).random((36, 16, 16, 3))).astype(kind)
    y = np.arange(36) % 3
    data = Data(x=x, y=y, x_val=x[:12], y_val=y[:12], batch_size=12)
    assert image_size(data) == (16, 16)
    found = at_size(data, (8, 12))
    assert found.x.shape == (36, 8, 12, 3)
    assert found.x_val.shape == (12, 8, 12, 3)
    assert found.x.dtype == kind
    assert found.x.mean() == pytest.approx(x.mean(), rel=0.02)
    np.testing.assert_array_equal(found.y, y)
    assert at_size(data, (16, 16)) is data


def test_a_pixel_is_the_mean_of_what_lies_under_it() -> None:
    x = np.zeros((1, 4, 4, 1), dtype="float32")
    x[0, :2, :2] = 8.0
    found = at_size(Data(x=x, y=[0]), (2, 2)).x
    assert found[0, 0, 0, 0] == found.max()
    assert found.mean() == pytest.approx(x.mean(), rel=1e-4)


def test_what_is_no_array_of_images_is_refused() -> None:
    stream = Data(x=iter([]), steps_per_epoch=1)
    for other in (stream, Data(x=np.zeros((4, 8)), y=np.zeros(4))):
        with pytest.raises(InvalidInputError, match="one array of images"):
            at_size(other, (8, 8))
