"""ONNX files as readers and runners both need them: opened, checked, sized, node by node."""
