"""What any process that times kernels needs: the loop of a visit, the watch over it, processors.

Standard library and Python 3.8 only: a remote device gets these very files (``remote/pack.py``).
"""
