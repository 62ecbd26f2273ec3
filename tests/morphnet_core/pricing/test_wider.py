"""Costs of networks that are wider than the seed, as expansion asks for them."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.costs.counts import Flops, Params
from morphnet_core.groups import resize
from morphnet_core.pricing import Pricer


@pytest.mark.parametrize("cost", [Flops(), Params()], ids=lambda c: c.name)
def test_a_wider_network_costs_what_it_would_if_it_were_built(tools, cost) -> None:
    grouping = tools.grouping("residual")
    counts = grouping.counts(grouping.full())
    wider = np.array(
        [
            count if group.frozen else 2 * count + 1
            for count, group in zip(counts, grouping.groups, strict=True)
        ]
    )
    exact = cost.price(resize(grouping, wider).ops).values.sum()
    assert Pricer(grouping, cost).total(wider) == pytest.approx(exact, rel=1e-12)
