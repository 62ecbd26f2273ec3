"""Many devices at once: what a file says about them, who measures which row, where jobs run.

``uses/fleets.py`` puts the parts together. A job is a process of its own beside the device, and all
state is in files; see ``docs/decisions/fleets.md``.
"""
