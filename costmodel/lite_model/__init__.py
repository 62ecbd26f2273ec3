"""TensorFlow Lite models: the graph, what a converter makes of a network, what is executed."""
