"""Makes a checkpoint to go on from out of the committed 8-bit model.

    python restore.py --model ../thermal/thermal.onnx --to start.pt --data DIR

In the model each batch norm is part of the convolution before it. Here it is taken
out again: mean and deviation of each convolution's output are measured on training
frames, and the norm's own factors are set so that the network computes the same.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from export import by_pixels, pictures, together
from model import Conv, Thermal


def weights_of(path):
    """{name: float array} of every weight and bias, as they stand for their 8-bit values."""
    kept = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    found = {}
    for name, value in kept.items():
        if name.endswith("_quantized"):
            base = name.removesuffix("_quantized")
            scale = kept.get(f"{base}_scale", kept.get(f"{name}_scale"))
            found[base] = value.astype(np.float32) * scale.reshape((-1,) + (1,) * (value.ndim - 1))
        elif name.startswith("net.") and value.dtype == np.float32 and "scale" not in name:
            found[name] = value
    found = {k.removeprefix("net."): torch.from_numpy(v.copy()) for k, v in found.items()}
    found["stem.0.weight"] = by_pixels(found["stem.0.weight"])
    for name in ("up4.weight", "up4.bias"):
        found[name] = together(found[name])
    head = torch.from_numpy((kept["head_weight"] * kept["head_scale"]).astype(np.float32))
    return found | {"head.weight": head.T[:, :, None, None]}


@torch.no_grad()
def main():
    arg = argparse.ArgumentParser()
    arg.add_argument("--model", type=Path, required=True)
    arg.add_argument("--to", type=Path, required=True)
    arg.add_argument("--data", type=Path, required=True)
    arg.add_argument("--frames", type=int, default=96)
    arg = arg.parse_args()
    torch.set_num_threads(1)
    folded, net = weights_of(arg.model), Thermal().eval()
    sums, biases = {}, {}

    def seen(name):
        def hook(_, __, out):
            n, total, squares = sums.get(name, (0, 0.0, 0.0))
            flat = out.double().transpose(0, 1).flatten(1)
            sums[name] = (n + flat.shape[1], total + flat.sum(1), squares + flat.square().sum(1))

        return hook

    named = dict(net.named_modules())
    for name, m in named.items():
        if isinstance(m, Conv):
            m[0].weight.copy_(folded.pop(f"{name}.0.weight"))
            biases[name] = folded.pop(f"{name}.0.bias")
            m[1].bias.copy_(biases[name])
            m[1].weight.fill_((1 + m[1].eps) ** 0.5)  # as if it were not there
            m[0].register_forward_hook(seen(name))
    for name, value in folded.items():
        net.get_parameter(name).copy_(value)
    assert {n for n, _ in net.named_parameters()} >= set(folded)
    frames = [torch.from_numpy(f)[None, None] for f in pictures(arg.data, "train", arg.frames)]
    frames = [(f - f.mean()) / f.std(unbiased=False).clamp(min=1e-3) for f in frames]
    before = [net(f) for f in frames]
    for name, bias in biases.items():
        n, total, squares = sums[name]
        norm, mean = named[name][1], total / n
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((squares / n - mean.square()).clamp(min=0))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(bias + norm.running_mean)
    worst = max((net(f) - b).abs().max().item() for f, b in zip(frames, before))
    assert worst < 1e-2, f"another network: differs by {worst}"
    state = net.state_dict()
    torch.save(dict(net=state, mean=state), arg.to)
    print(f"{arg.to}: {len(biases)} norms taken out, differs by at most {worst:.1e}")


if __name__ == "__main__":
    main()
