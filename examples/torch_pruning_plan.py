"""Plan widths for a share of the milliseconds, and let Torch-Pruning cut the PyTorch network so.

Needs the extra ``pruning``.
"""

import torch
import torch_pruning as tp
from torch import nn

import costmodel as cm
import morphnet_core as mc

TABLE = "amd-epyc-family-25-model-17/onnxruntime-float32"  # or your own: cpu.jsonl


def apply(structure: mc.Structure, model: nn.Module, example: torch.Tensor) -> None:
    """Cut a network to a structure, with all that hangs on the channels that go."""
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=example)
    for name, width in structure.layers.items():
        layer = model.get_submodule(name)
        cutter = graph.get_pruner_of_module(layer)
        gone = sorted({*range(width.of)} - {*(width.kept or ())})
        if gone and cutter.get_out_channels(layer) == width.of:  # else gone with another layer
            graph.get_pruning_group(layer, cutter.prune_out_channels, gone).prune()
        if (now := cutter.get_out_channels(layer)) != width.count:
            message = f"{name} has {now} channels, and the plan keeps {width.count} of {width.of}."
            raise ValueError(message)


class Net(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.deep = nn.Sequential(
            *(nn.Conv2d(32, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU()),
            *(nn.Conv2d(128, 128, 3, padding=1, groups=128, bias=False), nn.BatchNorm2d(128)),
            *(nn.ReLU(), nn.Conv2d(128, 32, 1)),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        return torch.as_tensor(self.head((x + self.deep(x)).mean((2, 3))))


if __name__ == "__main__":
    net, image = Net().eval(), torch.zeros(1, 3, 32, 32)
    torch.onnx.export(net, (image,), "net.onnx", dynamo=True, external_data=False)
    plan = mc.plan("net.onnx", TABLE, target="60%", predict_only=True)
    print({name: f"{width.count} of {width.of}" for name, width in plan.structure.layers.items()})

    apply(plan.structure, net, image)  # net is now smaller: train it on, as after any pruning
    torch.onnx.export(net, (image,), "planned.onnx", dynamo=True, external_data=False)
    for file in ("net.onnx", "planned.onnx"):
        print(cm.predict(file, TABLE))  # by the clock: costmodel compare net.onnx planned.onnx ...
