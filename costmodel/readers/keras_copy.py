"""Keras layers and models made again from their settings: with other inputs, or in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from costmodel.errors import ModelFormatError, first_line

#: Types whose values runtimes either cannot compute with or compute with in float32.
#: Types in which runtimes on CPUs do not compute convolutions.
_OTHERS = ("float16", "bfloat16", "float64")


def remade(
    layer: Any,
    *,
    changes: Mapping[str, Any],
    title: str | None = None,
    prepared: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config,
) -> Any:
    """A new layer of the same settings, with fresh weights.

    Args:
        layer: of Keras, or the user's own.
        changes: settings that it gets instead of its own.
        title: what to call it in messages.
        prepared: a last look at all settings, where they are to be changed at depth.

    Raises:
        ModelFormatError: if it cannot be made from what it says of itself; names it and the fix.
    """
    if type(layer).__name__ == "Lambda":
        return _lambda(layer, changes)
    try:
        return type(layer).from_config(prepared(_unbuilt({**layer.get_config(), **changes})))
    except Exception as error:
        first = first_line(error)
        message = (
            f"Layer {title or layer.name!r} ({type(layer).__name__}) cannot be made again from its "
            f"own settings: {first} Give the class a get_config() that returns all arguments of "
            "its constructor."
        )
        raise ModelFormatError(message) from error


def _unbuilt(config: Any) -> Any:
    """Settings in which no cell and no wrapped layer is built for the sizes of the old network."""
    if isinstance(config, list | tuple):
        return type(config)(_unbuilt(item) for item in config)
    if not isinstance(config, dict):
        return config
    return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}


def _lambda(layer: Any, changes: Mapping[str, Any]) -> Any:
    """A Lambda layer with the very function; its config would have to be unpickled."""
    return type(layer)(
        layer.function,
        output_shape=getattr(layer, "_output_shape", None),
        mask=getattr(layer, "mask", None),
        arguments=layer.arguments,
        name=changes.get("name", layer.name),
        trainable=layer.trainable,
        dtype=changes.get("dtype", layer.dtype_policy),
    )


def cloned(
    model: Any,
    *,
    settings: Callable[[Any], Mapping[str, Any]] = lambda _: {},
    shapes: Mapping[str, tuple[int | None, ...]] | None = None,
) -> tuple[Any, list[tuple[Any, Any]]]:
    """A model of the same layers with fresh weights, nested models entered.

    Args:
        model: a functional or built sequential Keras model; what is attached to it stays behind.
        settings: what a layer gets instead of its own settings.
        shapes: of its inputs by their names, batch first, where they are to be others.

    Returns:
        The copy, and every layer of it with the one it was made from.

    Raises:
        ModelFormatError: if a layer cannot be made again.
    """
    import keras

    pairs = []

    def clone(layer: Any) -> Any:
        made = remade(layer, changes=settings(layer))
        pairs.append((made, layer))
        return made

    # Without inputs of their own, clones of sequential models name theirs themselves.
    inputs: Any = [_input(item, (shapes or {}).get(item.name, item.shape)) for item in model.inputs]
    if not isinstance(model, keras.Sequential):
        inputs = keras.tree.pack_sequence_as(model.input, inputs)
    copy = keras.models.clone_model(
        model, input_tensors=inputs, clone_function=clone, recursive=True
    )
    return copy, pairs


def _input(tensor: Any, shape: tuple[int | None, ...]) -> Any:
    """A new input of the same name and type."""
    layer = tensor._keras_history.operation
    config = {**layer.get_config(), "batch_shape": shape, "name": tensor.name}
    return type(layer).from_config(config).output


def carry(ours: Any, theirs: Any) -> None:
    """Give a variable the values of another, which may be of another type."""
    import keras

    if ours.dtype == theirs.dtype:
        ours.assign(theirs)
    else:
        ours.assign(keras.ops.cast(theirs, ours.dtype))


def in_float32(model: Any) -> Any:
    """The model itself, or where it computes in 16 or 64 bits a copy that does in float32.

    Weights are the same; its inputs keep their types.

    Args:
        model: a functional or built sequential Keras model.

    Raises:
        ModelFormatError: if a layer cannot be made again.
    """
    import keras

    if not any(_is_other(layer) for layer in model._flatten_layers()):
        return model
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # own layers make layers inside without saying a type
    try:
        copy, pairs = cloned(model, settings=_whole_settings)
    finally:
        keras.config.set_dtype_policy(policy)
    for made, layer in pairs:
        for ours, theirs in zip(
            getattr(made, "weights", ()), getattr(layer, "weights", ()), strict=True
        ):
            carry(ours, theirs)
    return copy


def _is_other(layer: Any) -> bool:
    return getattr(layer, "compute_dtype", None) in _OTHERS


def _whole_settings(layer: Any) -> Mapping[str, Any]:
    if type(layer).__name__ == "Lambda":  # which nothing but its function says more of
        return {"dtype": "float32"}
    found: Mapping[str, Any] = _whole(layer.get_config())
    return found


def _whole(config: Any) -> Any:
    """Settings in which every policy is float32, those of layers inside included."""
    if isinstance(config, list | tuple):
        return type(config)(_whole(item) for item in config)
    if not isinstance(config, Mapping):
        return config
    found = {key: _whole(value) for key, value in config.items()}
    if "DTypePolicy" in str(config.get("class_name")) and _names_other(config.get("config")):
        found["config"] = {**found["config"], "name": "float32"}
    if isinstance(found.get("dtype"), str) and any(other in found["dtype"] for other in _OTHERS):
        found["dtype"] = "float32"
    return found


def _names_other(config: Any) -> bool:
    return isinstance(config, Mapping) and any(
        other in str(config.get("name")) for other in _OTHERS
    )
