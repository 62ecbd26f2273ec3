"""The regression in a scikit-learn pipeline, held against a forest on the same folds."""

import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import costmodel as cm
from costmodel.op import Op, decode_op

NUMBERS = ["height", "width", "in_channels", "out_channels", "macs"]


def kernels(frame: pd.DataFrame) -> list[Op]:
    """The work of each row, which a table's frame holds whole."""
    return [decode_op(text) for text in frame["op_json"]]


if __name__ == "__main__":
    table = cm.LatencyTable.load("amd-epyc-family-25-model-17/openvino-float32")
    rows = table.to_frame()
    rows = rows[(rows["kind"] == "conv") & rows["latency_ms"].notna()].head(90)
    ours = make_pipeline(FunctionTransformer(kernels), cm.LatencyRegressor(table.device))
    forest = make_pipeline(
        FunctionTransformer(lambda frame: frame[NUMBERS].astype(float)),
        RandomForestRegressor(50, random_state=0),
    )
    folds = KFold(3, shuffle=True, random_state=0)
    for name, model in {"costmodel": ours, "random forest": forest}.items():
        errors = -cross_val_score(
            model, rows, rows["latency_ms"], cv=folds, scoring="neg_mean_absolute_percentage_error"
        )
        print(f"{name}: {errors.mean():.1%} mean error on kernels not seen")
    ours.fit(rows, rows["latency_ms"])
    print(ours.predict(rows.head(2)), "ms")
