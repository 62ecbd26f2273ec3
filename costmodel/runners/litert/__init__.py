"""LiteRT (TensorFlow Lite with the XNNPACK delegate): files, lowering, one kernel alone, timing."""
