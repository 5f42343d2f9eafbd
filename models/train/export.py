"""Writes a checkpoint's averaged weights as ONNX and compares it with torch.

    python export.py --checkpoint DIR/last.pt --to ../thermal/hituav.onnx --data DIR

The graph normalises by itself: `frame` [1, 1, height, width] f32 takes a
camera's values as they are, 8 or 16 bit, warm is high. `map` [1, 8, height/4,
width/4] holds four class logits (Person, Car, Bicycle, OtherVehicle) and the
logarithms of the distances to left, top, right and bottom in units of 8 pixels.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model import Conv, Thermal


class Whole(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, frame):
        x = frame - frame.mean((2, 3), keepdim=True)
        dev = (x * x).mean((2, 3), keepdim=True).sqrt().clamp(min=1e-3)
        return self.net(x / dev)


def fold(net):
    """Puts every batch norm into the convolution before it."""
    for m in net.modules():
        if isinstance(m, Conv):
            m[0] = fuse_conv_bn_eval(m[0], m[1])
            m[1] = nn.Identity()
    return net


def pictures(root, split, count):
    paths = sorted((root / split).glob("*.jpg"))
    for path in paths[:: max(1, len(paths) // count)][:count]:
        yield np.asarray(Image.open(path).convert("L"), np.float32)[None, None]


def main():
    arg = argparse.ArgumentParser()
    arg.add_argument("--checkpoint", type=Path, required=True)
    arg.add_argument("--to", type=Path, required=True)
    arg.add_argument("--data", type=Path, required=True)
    arg = arg.parse_args()
    torch.set_num_threads(1)
    net = Thermal()
    saved = torch.load(arg.checkpoint, weights_only=False, map_location="cpu")
    net.load_state_dict(saved["mean"])
    whole = Whole(net).eval()
    frames = list(pictures(arg.data, "train", 5))
    with torch.no_grad():
        wanted = [whole(torch.from_numpy(f)).numpy() for f in frames]
        fold(net)
        arg.to.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(
            whole, (torch.from_numpy(frames[0]),), str(arg.to), opset_version=17, dynamo=False,
            input_names=["frame"], output_names=["map"],
            dynamic_axes={"frame": {2: "height", 3: "width"}, "map": {2: "rows", 3: "columns"}},
        )
    graph = onnx.load(arg.to)
    for node in graph.graph.node:  # nothing of the machine that wrote it
        node.doc_string = ""
    graph.producer_name, graph.producer_version, graph.doc_string = "vigil", "", ""
    onnx.checker.check_model(graph)
    onnx.save(graph, arg.to)
    session = onnxruntime.InferenceSession(str(arg.to), providers=["CPUExecutionProvider"])
    worst = max(
        np.abs(session.run(None, {"frame": f})[0] - w).max() for f, w in zip(frames, wanted)
    )
    print(f"step {saved['step']}: {arg.to}, {arg.to.stat().st_size} bytes, differs by at most {worst:.1e}")
    assert worst < 1e-3, "the exported graph is another network"


if __name__ == "__main__":
    main()
