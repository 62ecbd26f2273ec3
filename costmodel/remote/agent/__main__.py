"""Runs the agent: ``python agent.pyz [ROOT]``, where ROOT holds ``proc`` and ``sys``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from costmodel.remote.agent.front import Front

if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as ``costmodel`` does on the host
    Front(Path(sys.argv[0]), Path(sys.argv[1] if len(sys.argv) > 1 else "/")).run()
