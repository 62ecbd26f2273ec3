"""The regression among scikit-learn's own: cloned, split, scored, and clear about mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score

import costmodel as cm
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.op import Op

Tools = Any
DEVICE = Device(name="board", runtime="onnxruntime")


@pytest.fixture
def ops(tools: Tools) -> list[Op]:
    return list(tools.random_convs(40, seed=1))


def test_it_is_fitted_predicts_and_scores(tools: Tools, ops: list[Op]) -> None:
    times = tools.truth(ops)
    found = cm.LatencyRegressor(DEVICE).fit(ops[:30], times[:30])
    assert found.regression_.device == DEVICE
    np.testing.assert_allclose(found.predict(ops[30:]), found.regression_.price(ops[30:]).values)
    np.testing.assert_allclose(found.predict(ops[:3]), times[:3])
    expected = r2_score(times[30:], found.predict(ops[30:]))
    assert found.score(ops[30:], times[30:]) == pytest.approx(expected)


def test_scikit_learn_clones_and_splits_it(tools: Tools, ops: list[Op]) -> None:
    made = clone(cm.LatencyRegressor(device=DEVICE))
    assert made.get_params() == {"device": DEVICE}
    scores = cross_val_score(made, ops, tools.truth(ops), cv=2)
    assert np.isfinite(scores).all()


def test_mistakes(tools: Tools, ops: list[Op]) -> None:
    made = cm.LatencyRegressor()
    with pytest.raises(NotFittedError):
        made.predict(ops)
    for times in ([1.0], [0.0] * len(ops), [np.nan] * len(ops)):
        with pytest.raises(InvalidInputError, match="a time above 0 for each of the 40 kernels"):
            made.fit(ops, times)
    made.fit(ops, tools.truth(ops))
    strange = Op(kind="lstm", inputs=((4, 1, 8),), outputs=((4, 1, 1, 8),))
    with pytest.raises(InvalidInputError, match="has no price"):
        made.predict([strange])
