"""ONNX Runtime: lowering, rebuilding one kernel alone, timing."""
