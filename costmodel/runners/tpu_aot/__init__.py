"""TPU estimates without a TPU: programs compiled ahead of time, their cycles read from the HLO."""
