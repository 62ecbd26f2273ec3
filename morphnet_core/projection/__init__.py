"""Projection: the widths of most importance that a budget pays for.

The last step of a search is discrete and exact: a width of each group is chosen from those that the
device prices, so that the importance kept is greatest and the cost is within the target.
"""

from __future__ import annotations

from morphnet_core.projection.project import Projection, best_units, project
from morphnet_core.projection.proposals import Proposal, proposals
from morphnet_core.projection.removal import Removal

__all__ = ["Projection", "Proposal", "Removal", "best_units", "project", "proposals"]
