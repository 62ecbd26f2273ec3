"""A zoo of small models, drawn by seed, and the walk that each of them takes through the product.

``case.Case`` is one model with what it is fed. ``onnx_operators``, ``onnx_older``,
``onnx_foreign``, ``onnx_drawn`` and ``onnx_files`` make ONNX ones, ``keras_models`` Keras ones.
``onnx_counts`` and ``keras_counts`` count their multiply-adds without any code of the product;
``onnx_walk`` and ``keras_walk`` read, count, lower, anticipate, export and run one of them.
``keeper`` does so in processes of their own that may crash or hang.
"""
