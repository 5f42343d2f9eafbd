"""Writes the exported network once more with 8-bit convolutions (static QDQ).

    python quantize.py --model ../thermal/hituav.onnx --to ../thermal/hituav-int8.onnx --data DIR

Ranges are taken from training frames; normalisation and head stay in f32.
"""

import argparse
from pathlib import Path

import onnx
import onnxruntime.quantization as q
from onnxruntime.quantization.shape_inference import quant_pre_process

from export import pictures


class Frames(q.CalibrationDataReader):
    def __init__(self, root, count):
        self.frames = pictures(root, "train", count)

    def get_next(self):
        frame = next(self.frames, None)
        return None if frame is None else {"frame": frame}


def main():
    arg = argparse.ArgumentParser()
    arg.add_argument("--model", type=Path, required=True)
    arg.add_argument("--to", type=Path, required=True)
    arg.add_argument("--data", type=Path, required=True)
    arg.add_argument("--frames", type=int, default=48)
    arg = arg.parse_args()
    ready = arg.to.with_suffix(".ready")
    quant_pre_process(str(arg.model), str(ready), skip_symbolic_shape=True)
    nodes = onnx.load(ready).graph.node
    keep = [n.name for n in nodes if n.op_type == "Conv" and "/head/" in n.name]
    q.quantize_static(
        str(ready), str(arg.to), Frames(arg.data, arg.frames), quant_format=q.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Add", "Concat", "Split", "Relu", "Resize", "DepthToSpace"],
        per_channel=True, activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
        nodes_to_exclude=keep, calibrate_method=q.CalibrationMethod.MinMax,
    )
    ready.unlink()
    print(f"{arg.to}: {arg.to.stat().st_size} bytes")


if __name__ == "__main__":
    main()
