"""Runs the agent: ``python agent.pyz [ROOT]``, where ROOT holds ``proc`` and ``sys``."""

from __future__ import annotations

import sys
from pathlib import Path

from costmodel.remote.agent.front import Front

if __name__ == "__main__":
    Front(Path(sys.argv[0]), Path(sys.argv[1] if len(sys.argv) > 1 else "/")).run()
