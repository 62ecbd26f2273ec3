"""MorphNet on Keras 3, priced by any cost model of ``costmodel``."""
