"""XLA through JAX: networks as JAX programs, lowering from the optimised HLO, timing."""
