"""What the front door opens on, and the command line is a shell over.

Everything takes what people have: a Keras model or its file; as a cost a name such as ``flops``, a
cost model, a latency table, its file, or a shipped profile's name. Networks are timed where the
device that the prices are of is at hand, unless told otherwise.
"""
