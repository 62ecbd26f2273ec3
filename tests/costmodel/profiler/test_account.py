from __future__ import annotations

import pytest

from costmodel.measurement import Round
from costmodel.profiler.account import Account
from costmodel.profiler.messages import Probed, Visited


def visited(job: int) -> Visited:
    item = Round(number=0, quiet_ms=1.0, median_ms=1.0, blocks=7, discarded=2)
    return Visited(job=job, round=item, timed_ms=60.0, warm_ms=3.0, load_ms=2.0)


def probed(*, slow: bool) -> Probed:
    return Probed(latency_ms=1.0, slow=slow, timed_ms=5.0, waited_ms=50.0)


def test_visits_since_the_last_good_probe_are_doubted() -> None:
    account = Account()
    account.visited(visited(0))
    assert list(account.probed(probed(slow=False))) == []
    account.visited(visited(1))
    account.visited(visited(2))
    assert list(account.probed(probed(slow=True))) == [1, 2]
    assert list(account.visited(visited(3))) == [3]
    assert list(account.probed(probed(slow=False))) == []
    assert list(account.visited(visited(4))) == []
    assert account.forget_spoiled() == {1, 2, 3}
    assert account.forget_spoiled() == set()


def test_shares_sum_to_one() -> None:
    account = Account()
    account.visited(visited(0))
    account.probed(probed(slow=False))
    shares = account.shares(200.0)
    assert shares["timed"] == pytest.approx(0.325)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert (account.counts["blocks"], account.counts["discarded"]) == (7, 2)
