"""Search widths with Optuna under a limit in milliseconds: priced, with no device in the loop."""

import keras
import optuna

import costmodel as cm

layers = keras.layers
TABLE = cm.LatencyTable.load("amd-epyc-family-25-model-17/onnxruntime-float32")  # or your own
PRICES = cm.fit(TABLE)
LIMIT_MS = 0.07


def build(widths: list[int]) -> keras.Model:
    x = inputs = keras.Input((32, 32, 3))
    for width in widths:
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def objective(trial: optuna.Trial) -> float:
    model = build([trial.suggest_int(f"width{i}", 8, 96, step=8) for i in range(2)])
    found = cm.predict(model, TABLE, cost=PRICES)
    trial.set_user_attr("ms", found.total)
    if found.total > LIMIT_MS:
        raise optuna.TrialPruned  # before any training is spent on it
    return score(model)


def score(model: keras.Model) -> float:
    """Train it here, and return its accuracy; more weights stand for that."""
    return float(model.count_params())


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=6)
    for trial in study.trials:
        print(trial.params, f"{trial.user_attrs['ms']:.3f} ms", trial.state.name)
    print(f"best within {LIMIT_MS} ms: {study.best_params}")
