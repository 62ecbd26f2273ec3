"""Development networks: every family of keras.applications and torchvision, with random weights.

They are what choices for unseen networks are made on: families of ``CHOSEN`` to choose, the others
to report. torchvision is not among the project's packages; where it is not installed its networks
are left out, and told of.

    .venv/bin/pip install --no-deps torchvision==0.28.0   # beside scripts/venv.sh's torch
    python scripts/bench/development.py                   # writes all of them, about 8 minutes
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import exports
import place

#: Class of keras.applications: family, side of the image.
KERAS = {
    "ConvNeXtTiny": ("convnext", 96),
    "DenseNet121": ("densenet", 128),
    "EfficientNetB0": ("efficientnet", 128),
    "EfficientNetV2B0": ("efficientnet_v2", 128),
    "InceptionResNetV2": ("inception_resnet", 96),
    "InceptionV3": ("inception", 128),
    "MobileNet": ("mobilenet", 160),
    "MobileNetV2": ("mobilenet_v2", 160),
    "MobileNetV3Large": ("mobilenet_v3", 160),
    "MobileNetV3Small": ("mobilenet_v3", 224),
    "NASNetMobile": ("nasnet", 224),
    "ResNet50": ("resnet", 96),
    "ResNet50V2": ("resnet", 128),
    "VGG16": ("vgg", 64),
    "Xception": ("xception", 128),
}
#: Model of torchvision: family, side of the image.
TORCHVISION = {
    "alexnet": ("alexnet", 224),
    "convnext_tiny": ("convnext", 128),
    "densenet121": ("densenet", 128),
    "efficientnet_b0": ("efficientnet", 160),
    "efficientnet_v2_s": ("efficientnet_v2", 128),
    "googlenet": ("inception", 160),
    "inception_v3": ("inception", 160),
    "maxvit_t": ("maxvit", 224),
    "mnasnet0_5": ("mnasnet", 224),
    "mnasnet1_0": ("mnasnet", 192),
    "mobilenet_v2": ("mobilenet_v2", 224),
    "mobilenet_v3_large": ("mobilenet_v3", 224),
    "mobilenet_v3_small": ("mobilenet_v3", 224),
    "regnet_x_800mf": ("regnet", 160),
    "regnet_y_400mf": ("regnet", 224),
    "resnet18": ("resnet", 160),
    "resnext50_32x4d": ("resnext", 128),
    "shufflenet_v2_x0_5": ("shufflenet", 224),
    "shufflenet_v2_x1_0": ("shufflenet", 224),
    "squeezenet1_1": ("squeezenet", 224),
    "swin_t": ("swin", 224),
    "swin_v2_t": ("swin", 256),
    "vgg11_bn": ("vgg", 96),
    "vit_b_16": ("vit", 224),
}
#: Of torchvision.models.segmentation: family, side of the image.
SEGMENTATION = {
    "deeplabv3_mobilenet_v3_large": ("segmentation", 160),
    "fcn_resnet50": ("segmentation", 96),
    "lraspp_mobilenet_v3_large": ("segmentation", 224),
}
#: Networks beside a checkout, by the start of their names.
REAL = {
    "light_bvlc_alexnet": "alexnet",
    "light_densenet121": "densenet",
    "light_inception_v1": "inception",
    "light_inception_v2": "inception",
    "light_resnet50": "resnet",
    "light_shufflenet": "shufflenet",
    "light_squeezenet": "squeezenet",
    "light_vgg19": "vgg",
    "light_zfnet512": "zfnet",
    "mnist-8": "mnist",
    "resnet20_cifar10": "resnet20",
    "ultraface_slim-320": "detector",
    "yunet_s_320": "detector",
}
#: Half of the families: those that choices are made on. The other half is reported.
CHOSEN = frozenset({
    "alexnet", "convnext", "densenet", "detector", "efficientnet", "inception", "mobilenet_v2",
    "nasnet", "regnet", "resnet", "shufflenet", "swin", "segmentation",
})  # fmt: skip


def networks() -> dict[str, tuple[Path, str]]:
    """File and family of every development network, each made once, by name."""
    folder = place.folder("development")
    found: dict[str, tuple[Path, str]] = {}
    for name, (family, side) in KERAS.items():
        path = exports.application(folder / f"keras-{name}.onnx", name, side)
        found[path.stem] = path, family
    for (group, name), (family, side) in {
        **{("", name): value for name, value in TORCHVISION.items()},
        **{("segmentation", name): value for name, value in SEGMENTATION.items()},
    }.items():
        path = folder / f"torchvision-{name}.onnx"
        if not path.exists():
            try:
                _export(path, partial(_made, group, name), side)
            except ImportError:
                print(f"Left out, since torchvision is not installed: {name}")
                continue
        found[path.stem] = path, family
    for path in sorted(place.MODELS.glob("*.onnx")):
        found[path.stem] = path, REAL[path.stem]
    return found


def _made(group: str, name: str) -> Any:
    torchvision = torchvision_package()
    if group:
        network = getattr(torchvision.models.segmentation, name)
        return network(weights=None, weights_backbone=None)
    more = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    more |= {"aux_logits": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, **more)


def torchvision_package() -> Any:
    """The package; its own kernels, which no network here runs, may lack their library."""
    from torch import library

    for kernel in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            _LIBRARIES.append(library.Library("torchvision", "FRAGMENT"))
            _LIBRARIES[-1].define(
                f"{kernel}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    import torchvision

    return torchvision


_LIBRARIES: list[Any] = []


def _export(target: Path, make: Callable[[], Any], side: int) -> None:
    import torch

    torch.manual_seed(0)
    network = make().eval()

    class Whole(torch.nn.Module):  # type: ignore[misc]
        """One tensor out, also of networks that answer by name."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Any) -> Any:
            out = self.network(image)
            return out["out"] if isinstance(out, dict) else out

    with _quiet():
        torch.onnx.export(
            Whole().eval(), (torch.randn(1, 3, side, side),), str(target), dynamo=True,
            verbose=False, external_data=False, opset_version=18,
        )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    for name, (path, family) in networks().items():
        print(f"{name}: {family}, {path.stat().st_size >> 20} MB")
