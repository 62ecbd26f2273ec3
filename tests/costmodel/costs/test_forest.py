"""What physics leaves of a GPU's kernels, learned by trees."""

from __future__ import annotations

import numpy as np

from costmodel.costs.forest import Forest
from costmodel.costs.residual import LAW_VARIANCE, MIN_ROWS

PATH = "conv@nhwc:convolution_2d/pointwise"


def stairs(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(seed).uniform(0.0, 4.0, (rows, 3))
    return features, 0.3 * np.floor(features[:, 0]) - 0.2 * (features[:, 1] > 2)


def fitted(rows: int, wrong: float = 0.0) -> Forest:
    features, residual = stairs(rows, seed=0)
    residual[: int(wrong * rows)] += 3.0
    return Forest().fit(features, residual, np.zeros(rows), [PATH] * rows)


def error(forest: Forest) -> float:
    features, truth = stairs(400, seed=1)
    return float(np.abs(forest.predict(features, [PATH] * 400)[0] - truth).mean())


def test_steps_are_learned() -> None:
    assert error(fitted(300)) < 0.06


def test_rows_that_are_far_off_do_not_drag_their_neighbours_along() -> None:
    assert error(fitted(300, wrong=0.1)) < 0.2  # 0.3 if all of them were believed


def test_paths_of_a_family_share_a_forest_and_others_have_none() -> None:
    features, residual = stairs(100, seed=0)
    forest = Forest().fit(features, residual, np.zeros(100), [PATH] * 100)
    mean, deviation = forest.predict(
        features[:3], [PATH.replace("pointwise", "dense"), "conv@nhwc:winograd/dense", "add"]
    )
    assert abs(mean[0] - residual[0]) < 0.05
    assert mean[1:].tolist() == [0, 0]
    np.testing.assert_allclose(deviation[1:] ** 2, LAW_VARIANCE)
    assert (deviation > 0).all()


def test_few_rows_leave_the_law_alone() -> None:
    features, residual = stairs(MIN_ROWS - 1, seed=0)
    paths = [PATH] * len(residual)
    forest = Forest().fit(features, residual, np.zeros(len(residual)), paths)
    assert forest.predict(features, paths)[0].tolist() == [0.0] * len(residual)


def test_trees_are_the_same_every_time() -> None:
    features = stairs(50, seed=3)[0]
    one, other = (fitted(200).predict(features, [PATH] * 50)[0] for _ in range(2))
    assert one.tobytes() == other.tobytes()


def test_many_rows_are_shared_out_among_the_trees() -> None:
    assert error(fitted(9000)) < 0.02
