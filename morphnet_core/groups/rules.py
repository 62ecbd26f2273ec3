"""The table of rules, by kind of Op: to follow a new kind, add its rule to a family's file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from morphnet_core.groups.rules_elementwise import ELEMENTWISE
from morphnet_core.groups.rules_mixing import MIXING
from morphnet_core.groups.rules_shape import SHAPE
from morphnet_core.groups.tracer import Rule

RULES: Mapping[str, Rule] = MappingProxyType({**MIXING, **ELEMENTWISE, **SHAPE})
