"""The agent: the part that runs on the device, shipped there as one file.

Needs Python >= 3.8, numpy and ONNX Runtime there and nothing else: it imports no other module of
this package, keeps to the syntax and library of 3.8, and takes every constant of the measuring
protocol from the host, so that a number means the same as one measured locally.
"""
