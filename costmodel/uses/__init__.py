"""What the front door opens on: one file per use, and the policy that makes each right.

``import costmodel`` exports these functions; the command line parses, calls one, and renders. They
take what people have (a path, an ``onnx.ModelProto``, a Keras model; a table, its file or the name
of a shipped profile) and choose what fits: the runner that made a table, its threads and element
type, kernels asked from the runtime or foreseen by rule, a calibration where the table has timed
networks. What they decide without being asked is told to the logger ``costmodel``.
"""
