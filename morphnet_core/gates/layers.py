"""Keras layers that multiply each channel by a gate of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from costmodel.errors import InvalidInputError
from morphnet_core.gates import sampling


class ChannelGate(keras.layers.Layer):  # type: ignore[misc]
    """Base of gate layers: one trainable log odds per channel, one draw per channel and step.

    All positions of a channel, and all images of a batch, share the draw. At inference nothing is
    drawn. Gates are computed in float32 whatever the precision of the model, and applied in its.

    Attributes:
        logits: the log odds of each channel, shape ``(channels,)``; trainable.
    """

    def __init__(
        self,
        *,
        axis: int = -1,
        log_odds_init: float = 2.5,
        keep_alive: Sequence[int] = (),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Set up gates; they are made when the layer is first called.

        Args:
            axis: the channel axis of what the layer is called on.
            log_odds_init: log odds to begin with; 2.5 is a probability of 0.92.
            keep_alive: channels whose gate is always 1.
            seed: makes the draws reproducible; None takes Keras's global seed.
            **kwargs: ``name``, ``dtype`` and the like.
        """
        super().__init__(**kwargs)
        self.axis = axis
        self.log_odds_init = float(log_odds_init)
        self.keep_alive = tuple(keep_alive)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._seed = seed
        self.logits: Any = None
        self._kept: Any = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the log odds for the channels of ``input_shape``."""
        size = input_shape[self.axis]
        if size is None:
            message = (
                f"Gate {self.name!r} is called on {tuple(input_shape)}, whose axis {self.axis} is "
                "open. Give the number of channels a fixed size, or another axis."
            )
            raise InvalidInputError(message)
        self.logits = self.add_weight(
            name="mask_logits",
            shape=(size,),
            dtype="float32",
            initializer=keras.initializers.Constant(self.log_odds_init),
            autocast=False,
        )
        self._kept = [1.0 if index in self.keep_alive else 0.0 for index in range(size)]
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Multiply each channel of ``inputs`` by its gate."""
        shape = [1] * len(inputs.shape)
        shape[self.axis] = len(self._kept)
        return inputs * ops.cast(ops.reshape(self.mask(training=training), shape), inputs.dtype)

    def mask(self, *, training: Any = None) -> Any:
        """The gates, float32 of shape ``(channels,)``: drawn in training, else the inference's."""
        found = self.draw() if training else self.inference_mask()
        return ops.maximum(found, self._kept) if self.keep_alive else found

    def draw(self) -> Any:
        """Sample the gates of one training step."""
        raise NotImplementedError

    def inference_mask(self) -> Any:
        """The gates without noise."""
        raise NotImplementedError

    def probability(self) -> Any:
        """Probability of each gate being open: what a penalty presses on."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """A gate keeps the shape."""
        return input_shape

    def save_own_variables(self, store: Any) -> None:
        """Save log odds and the state of the noise, so that a resumed run draws the same."""
        super().save_own_variables(store)
        store["seed"] = ops.convert_to_numpy(self.seed_generator.state.value)

    def load_own_variables(self, store: Any) -> None:
        """Take back what ``save_own_variables`` wrote."""
        held = {key: store[key] for key in store.keys()}  # noqa: SIM118 - no mapping on every file
        if "seed" in held:
            self.seed_generator.state.assign(held.pop("seed"))
        super().load_own_variables(held)

    def get_config(self) -> dict[str, Any]:
        """Settings from which ``from_config`` makes the same layer."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "log_odds_init": self.log_odds_init,
            "keep_alive": list(self.keep_alive),
            "seed": self._seed,
        }


@keras.saving.register_keras_serializable(package="morphnet_core")
class LogisticSigmoidGating(ChannelGate):
    """Gate by the logistic-sigmoid trick, MorphNet's recommended one (arXiv 2006.09581).

    In training ``sigmoid((logit + noise) / temperature)``; at inference the probability where it is
    above one half, else 0.
    """

    def __init__(
        self,
        axis: int = -1,
        temperature: float = 0.001,
        straight_through: bool = False,  # noqa: FBT001, FBT002
        log_odds_init: float = 2.5,
        soft_mask_for_inference: bool = True,  # noqa: FBT001, FBT002
        keep_first_channel_alive: bool = True,  # noqa: FBT001, FBT002
        annealing_rate: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the original's arguments, in the original's order.

        Args:
            axis: the channel axis.
            temperature: of the relaxation; the smaller, the closer to 0 or 1, and the rarer a
                gradient that is not zero.
            straight_through: exactly 0 or 1 forward, the relaxed gate's gradient backward.
            log_odds_init: 2.5 is a probability of 0.92.
            soft_mask_for_inference: at inference multiply open gates by their probability, as
                dropout does; else by 1.
            keep_first_channel_alive: never close channel 0, so that no layer vanishes by itself.
            annealing_rate: divide the temperature by ten every so many training steps. The layer
                counts its own steps; the original's ``global_step`` is not needed.
            **kwargs: ``seed``, ``keep_alive``, ``name``, ``dtype``.
        """
        kept = tuple(kwargs.pop("keep_alive", ()))
        if keep_first_channel_alive and 0 not in kept:
            kept = (0, *kept)
        super().__init__(axis=axis, log_odds_init=log_odds_init, keep_alive=kept, **kwargs)
        if temperature <= 0.0:
            message = f"The temperature of a gate is {temperature}; it must be above zero."
            raise InvalidInputError(message)
        self.temperature = float(temperature)
        self.straight_through = straight_through
        self.soft_mask_for_inference = soft_mask_for_inference
        self.keep_first_channel_alive = keep_first_channel_alive
        self.annealing_rate = annealing_rate
        self._steps: Any = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the log odds, and the step counter where the temperature falls."""
        super().build(input_shape)
        if self.annealing_rate:
            self._steps = self.add_weight(
                name="steps",
                shape=(),
                dtype="float32",
                initializer="zeros",
                trainable=False,
                aggregation="only_first_replica",
                autocast=False,
            )

    def draw(self) -> Any:
        """Sample the gates of one training step, and count it."""
        temperature: Any = self.temperature
        if self.annealing_rate:
            temperature *= ops.power(0.1, self._steps / self.annealing_rate)
            self._steps.assign(self._steps + 1.0)
        log_odds = ops.convert_to_tensor(self.logits)
        noise = sampling.logistic_noise(len(self._kept), self.seed_generator)
        return sampling.logistic_sigmoid(
            log_odds, noise, temperature, straight_through=self.straight_through
        )

    def inference_mask(self) -> Any:
        """Probability where it is above one half (1 if not ``soft_mask_for_inference``), else 0."""
        log_odds = ops.convert_to_tensor(self.logits)
        opened = ops.cast(log_odds > 0.0, "float32")
        return opened * ops.sigmoid(log_odds) if self.soft_mask_for_inference else opened

    def probability(self) -> Any:
        """Probability that the gate is open."""
        return ops.sigmoid(ops.convert_to_tensor(self.logits))

    def get_config(self) -> dict[str, Any]:
        """Settings from which ``from_config`` makes the same layer."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "straight_through": self.straight_through,
            "soft_mask_for_inference": self.soft_mask_for_inference,
            "keep_first_channel_alive": self.keep_first_channel_alive,
            "annealing_rate": self.annealing_rate,
        }


@keras.saving.register_keras_serializable(package="morphnet_core")
class HardConcreteGating(ChannelGate):
    """L0 gate (Louizos et al., arXiv 1712.01312): exactly 0 and exactly 1 happen.

    Its probability of being open is known without a sample, so the cost under it is not noisy.
    """

    def __init__(
        self,
        axis: int = -1,
        *,
        beta: float = 2 / 3,
        low: float = -0.1,
        high: float = 1.1,
        **kw: Any,
    ) -> None:
        """Set the shape of the distribution.

        Args:
            axis: the channel axis.
            beta: temperature.
            low: where the stretched gate begins, below 0 (the paper's gamma).
            high: where it ends, above 1 (the paper's zeta).
            **kw: ``log_odds_init``, ``keep_alive``, ``seed``, ``name``, ``dtype``.
        """
        super().__init__(axis=axis, **kw)
        if not (beta > 0.0 and low < 0.0 and high > 1.0):
            message = (
                f"A hard-concrete gate needs beta > 0, low < 0 and high > 1; got beta={beta}, "
                f"low={low}, high={high}. The paper uses 2/3, -0.1 and 1.1."
            )
            raise InvalidInputError(message)
        self.beta, self.low, self.high = float(beta), float(low), float(high)

    def draw(self) -> Any:
        """Sample the gates of one training step."""
        log_odds = ops.convert_to_tensor(self.logits)
        noise = sampling.logistic_noise(len(self._kept), self.seed_generator)
        return sampling.hard_concrete(log_odds, noise, self.beta, self.low, self.high)

    def inference_mask(self) -> Any:
        """The stretched and clipped sigmoid without noise."""
        log_odds = ops.convert_to_tensor(self.logits)
        return sampling.hard_concrete_mean(log_odds, self.low, self.high)

    def probability(self) -> Any:
        """Probability that the gate is above zero."""
        log_odds = ops.convert_to_tensor(self.logits)
        return sampling.hard_concrete_probability(log_odds, self.beta, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        """Settings from which ``from_config`` makes the same layer."""
        return {**super().get_config(), "beta": self.beta, "low": self.low, "high": self.high}
