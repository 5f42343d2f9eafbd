"""Writes a checkpoint's averaged weights as ONNX and compares it with torch.

    python export.py --checkpoint DIR/last.pt --to ../thermal/hituav.onnx --data DIR

`blocks` [1, height/2 + 1, width/2 + 1, 4] holds 2x2 pixels of a frame each, as `blocks` below makes
them: read so, the first convolution has four channels to multiply at once instead of one. `map`
[1, 8, height/4, width/4] holds four class logits (Person, Car, Bicycle, OtherVehicle) and the
logarithms of the distances to left, top, right and bottom in units of 8 pixels. `quantize.py`
makes of it what the box runs.
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

ZERO = 80  # the mean of a frame, as a level
LEVELS = 18  # in one of its deviations: from 4.4 below the mean to 9.7 above


def blocks(frame):
    """A frame's values [h, w], warm is high -> [1, h/2 + 1, w/2 + 1, 4] u8: levels about its mean, the mean around."""
    frame = frame.astype(np.float32)
    level = np.rint((frame - frame.mean()) * (LEVELS / max(frame.std(), 1e-3))) + ZERO
    level = np.pad(level.clip(0, 255).astype(np.uint8), 1, constant_values=ZERO)
    h, w = level.shape
    return level.reshape(h // 2, 2, w // 2, 2).swapaxes(1, 2).reshape(1, h // 2, w // 2, 4)


def level(blocks):
    """What the network takes them for: deviations from the mean."""
    return (torch.from_numpy(blocks).float() - ZERO) / LEVELS


def by_blocks(weight):
    """Weights [out, 1, 6, 6] of a convolution by steps of 4 -> [out, 4, 3, 3] of the same over blocks, by steps of 2."""
    return weight.reshape(-1, 3, 2, 3, 2).permute(0, 2, 4, 1, 3).reshape(-1, 4, 3, 3)


def by_pixels(weight):
    """The other way round."""
    return weight.reshape(-1, 2, 2, 3, 3).permute(0, 3, 1, 4, 2).reshape(-1, 1, 6, 6)


def apart(values):
    """Of a convolution before `PixelShuffle(2)`: its outputs in the order in which `Apart` takes them."""
    return values.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)


def together(values):
    """The other way round."""
    return values.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1)


class Apart(nn.Module):
    """`PixelShuffle(2)` whose four pixels come one after the other: moves whole pixels where channels are the last axis."""

    def forward(self, x):
        (h, w), c = self.size, x.shape[1]
        x = x.permute(0, 2, 3, 1).reshape(1, h, w, 2, c // 2).permute(0, 1, 3, 2, 4)
        return x.reshape(1, 2 * h, 2 * w, c // 4).permute(0, 3, 1, 2)


class Whole(nn.Module):
    """A network with its norms folded, of a frame's blocks."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        old = net.stem[0]
        net.stem[0] = nn.Conv2d(4, old.out_channels, 3, 2)
        net.stem[0].weight.data, net.stem[0].bias.data = by_blocks(old.weight.data), old.bias.data
        net.up4.weight.data, net.up4.bias.data = apart(net.up4.weight.data), apart(net.up4.bias.data)
        net.shuffle = Apart()

    def forward(self, blocks):
        # By the input's shape: by its own, 8-bit values would be made floats to be measured.
        self.net.shuffle.size = (blocks.shape[1] - 1) // 4, (blocks.shape[2] - 1) // 4
        return self.net(blocks.permute(0, 3, 1, 2))


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
        yield np.asarray(Image.open(path).convert("L"), np.float32)


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
    net.eval()
    frames = [blocks(f) for f in pictures(arg.data, "train", 5)]
    with torch.no_grad():
        pixels = [torch.pixel_shuffle(level(f).permute(0, 3, 1, 2), 2)[..., 1:-1, 1:-1] for f in frames]
        wanted = [net(p).numpy() for p in pixels]
        whole = Whole(fold(net))
        arg.to.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(
            whole, (level(frames[0]),), str(arg.to), opset_version=17, dynamo=False,
            input_names=["blocks"], output_names=["map"],
            dynamic_axes={"blocks": {1: "high", 2: "wide"}, "map": {2: "rows", 3: "columns"}},
        )
    graph = onnx.load(arg.to)
    for node in graph.graph.node:  # nothing of the machine that wrote it
        node.doc_string = ""
    graph.producer_name, graph.producer_version, graph.doc_string = "vigil", "", ""
    onnx.checker.check_model(graph)
    onnx.save(graph, arg.to)
    session = onnxruntime.InferenceSession(str(arg.to), providers=["CPUExecutionProvider"])
    worst = max(
        np.abs(session.run(None, {"blocks": level(f).numpy()})[0] - w).max() for f, w in zip(frames, wanted)
    )
    print(f"step {saved['step']}: {arg.to}, {arg.to.stat().st_size} bytes, differs by at most {worst:.1e}")
    assert worst < 1e-3, "the exported graph is another network"


if __name__ == "__main__":
    main()
