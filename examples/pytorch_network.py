"""A PyTorch network through torch.onnx.export: what it takes, and the widths that run faster."""

import torch
from torch import nn

import costmodel as cm
import morphnet_core as mc

TABLE = "amd-epyc-family-25-model-17/onnxruntime-float32"  # or your own: cpu.jsonl


class Net(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.deep = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.deep(torch.relu(self.norm(self.stem(image)))))
        return torch.as_tensor(self.head(x.mean((2, 3))))


if __name__ == "__main__":
    net, image = Net(19).eval(), torch.zeros(1, 3, 32, 32)  # 19: somebody has pruned it
    torch.onnx.export(net, (image,), "net.onnx", dynamo=True, external_data=False)
    print(cm.predict("net.onnx", TABLE))  # or at once: cm.predict(net, TABLE, example=image)
    fast = mc.align("net.onnx", TABLE, predict_only=True)
    print({group.name: (group.before, group.after) for group in fast.groups})
    print(f"{fast.predicted_speed_up:.2f} times as fast, results differ by {fast.difference:.0e}")
    fast.save("fast.onnx")
