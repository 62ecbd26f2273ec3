"""Old names warn, say the new one, and are what has it today."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

#: Packages that still have their names.
LIVE = {"costmodel", "morphnet_core", "morphnet_core.network_regularizers", "morphnet_core.signals"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("costmodel.compare", "costmodel.comparison"),
        ("costmodel.fusion", "costmodel.anticipation"),
        ("costmodel.fusion.ort_blocked", "costmodel.anticipation.ort_blocked"),
        ("costmodel.predict", "costmodel.prediction"),
        ("costmodel.score", "costmodel.scoring"),
        ("morphnet_core.align.search", "morphnet_core.alignment.search"),
        ("morphnet_core.morph.loop", "morphnet_core.morphing.loop"),
        ("morphnet_core.network_regularizers.gamma", "morphnet_core.network_regularizers.original"),
        ("morphnet_core.pictures", "morphnet_core.plots"),
        ("morphnet_core.prices.pricer", "morphnet_core.pricing.pricer"),
        ("morphnet_core.signals.taylor", "morphnet_core.budget.taylor"),
    ],
)
def test_an_old_module_is_the_new_one(old: str, new: str) -> None:
    for name in [name for name in sys.modules if name == old or old.startswith(f"{name}.")]:
        if name not in LIVE:
            del sys.modules[name]  # it warns at its first import only
    with pytest.warns(DeprecationWarning, match=r"is called [\w.]+ now") as told:
        found = importlib.import_module(old)
    assert str(told.list[-1].message).startswith(f"{old} is called {new} now")
    assert found is importlib.import_module(new)


def test_an_old_class_is_the_new_one() -> None:
    pricing = importlib.import_module("morphnet_core.pricing")
    with pytest.warns(DeprecationWarning, match="ChannelPrices"):
        assert pricing.GroupPrices is pricing.ChannelPrices
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        pricing.Nothing  # noqa: B018 - asked for to see it refused


def test_what_nobody_has_moved_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("costmodel.predictions")


def test_the_warning_points_at_whoever_used_the_name() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", "import costmodel.predict"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "<string>:1: DeprecationWarning" in done.stderr
