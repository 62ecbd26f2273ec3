"""Which Ops to measure."""
