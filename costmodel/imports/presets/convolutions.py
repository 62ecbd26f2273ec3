"""Lists of single convolutions: random ones on NVIDIA GPUs, MIOpen's find-db, DeepBench."""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel.imports.presets.preset import Preset

if TYPE_CHECKING:
    import pandas as pd

#: Columns that these files share, by what they are called in tidy rows.
_COLUMNS = {
    "device": "device",
    "op": "kind",
    "batch": "batch",
    "height": "height",
    "width": "width",
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "kernel": "kernel",
    "kernel_w": "kernel_w",
    "stride": "stride",
    "stride_w": "stride_w",
    "pad": "pad",
    "pad_w": "pad_w",
    "dilation": "dilation",
    "groups": "groups",
    "dtype": "dtype",
    "layout": "layout",
}
#: Columns that all files of this form have.
SHARED = frozenset({*_COLUMNS, "latency_us", "algo", "device_class", "source"})
#: Those that are not numbers, and those that are not read.
TEXTS = frozenset(
    [
        "device",
        "device_class",
        "runtime",
        "op",
        "dtype",
        "layout",
        "algo",
        "source",
        "model",
        "padding",
        "activation",
        "optimizer",
        "use_bias",
        "has_tuned_solver",
        "suspect",
    ]
)
#: Libraries by the names of runtimes.
_RUNTIMES = {"cuDNN": "cudnn", "MIOpen": "miopen", "MKL-DNN/LIBXSMM": "mkl-dnn"}


def shared_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The shared columns that there are, under their tidy names, and the time in milliseconds."""
    tidy = frame[[name for name in _COLUMNS if name in frame]].rename(columns=_COLUMNS)
    tidy["latency_ms"] = frame["latency_us"] / 1e3
    return tidy


def _nvidia(frame: pd.DataFrame) -> pd.DataFrame:
    tidy = shared_columns(frame)
    tidy["runtime"] = "cudnn"
    tidy["runtime_version"] = "tensorflow 1"
    tidy["padding"] = frame["padding"]
    tidy["out_height"] = frame["out_size"]
    tidy["bias"] = frame["use_bias"].map(lambda said: str(said) == "True")
    tidy["epilogue"] = frame["activation"]
    tidy["deviation_ms"] = frame["latency_us_std"] / 1e3
    return tidy


def _amd(frame: pd.DataFrame) -> pd.DataFrame:
    tidy = shared_columns(frame)
    tidy["runtime"] = "miopen"
    tidy["provider"] = frame["runtime"].str.rpartition(" ")[2].str.lower()
    return tidy


def _deepbench(frame: pd.DataFrame) -> pd.DataFrame:
    tidy = shared_columns(frame)
    library = frame["runtime"].str.extract(r"^(.*?)(?:\s+(\d[\w.]*))?$")
    tidy["runtime"] = library[0].map(
        lambda name: _RUNTIMES.get(name, str(name).lower().replace(" ", "-"))
    )
    tidy["runtime_version"] = library[1].fillna("")
    return tidy


NVIDIA = Preset(
    name="nvidia_gpu_conv",
    signature=SHARED | {"padding", "activation", "use_bias"},
    texts=TEXTS,
    tidy=_nvidia,
    source="CDECatapult/ml-performance-prediction",
    licence="Apache-2.0",
)
AMD = Preset(
    name="amd_gpu_conv",
    signature=SHARED | {"n_solvers", "has_tuned_solver"},
    texts=TEXTS,
    tidy=_amd,
    source="ROCm/MIOpen, its find-db: the time of the fastest solver of each convolution",
    licence="MIT",
)
DEEPBENCH = Preset(
    name="deepbench_conv",
    signature=SHARED,
    texts=TEXTS,
    tidy=_deepbench,
    source="baidu-research/DeepBench",
    licence="Apache-2.0",
)
