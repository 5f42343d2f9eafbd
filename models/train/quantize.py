"""Writes the exported network once more as the box runs it: in 8 bits.

    python quantize.py --model thermal-f32.onnx --to ../thermal/thermal.onnx --data DIR

Ranges are taken from training frames (static quantisation, QDQ). `blocks` becomes u8, the levels themselves. The last
layer multiplies 8-bit values to sums that stay whole: `map` is f32 [1, height/4, width/4, 8], a cell's values together.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime.quantization as q
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from export import LEVELS, ZERO, blocks, level, pictures


class Frames(q.CalibrationDataReader):
    def __init__(self, root, count):
        self.frames = pictures(root, "train", count)

    def get_next(self):
        frame = next(self.frames, None)
        return None if frame is None else {"blocks": level(blocks(frame)).numpy()}


def only(nodes, kind, name=""):
    found = [n for n in nodes if n.op_type == kind and name in n.name]
    assert len(found) == 1, f"{len(found)} nodes {kind} {name}"
    return found[0]


def as_levels(graph):
    """Takes the levels as they come, instead of deviations that are made levels again."""
    turned = next(n for n in graph.node if n.input[:1] == ["blocks"])
    made = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == turned.output[0])
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == made.output[0]:
                node.input[i] = turned.output[0]
    graph.node.remove(made)
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def whole_sums(graph):
    """The last layer over 8-bit values, the cells' values last."""
    kept = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    head = only(graph.node, "Conv", "/head/")
    told = next(n for n in graph.node if head.input[0] in n.output)
    assert told.op_type == "DequantizeLinear"
    weight, bias = (kept[k] for k in head.input[1:])
    weight = weight[:, :, 0, 0]
    scale = np.abs(weight).max(1) / 127
    new = {"head_weight": np.rint(weight / scale[:, None]).astype(np.int8).T.copy(), "head_scale": scale}
    graph.initializer.remove(next(i for i in graph.initializer if i.name == head.input[1]))
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in new.items())
    graph.node.remove(head)
    graph.node.remove(told)
    graph.node.extend((
        helper.make_node("Transpose", told.input[:1], ["head_cells"], "head_cells", perm=[0, 2, 3, 1]),
        helper.make_node(
            "MatMulIntegerToFloat",
            ["head_cells", "head_weight", told.input[1], "head_scale", told.input[2], "", head.input[2]],
            ["map"], "head", domain="com.microsoft"),
    ))
    graph.output.remove(graph.output[0])
    graph.output.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, "rows", "columns", len(bias)]))


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
    taken = only(nodes, "Conv", "/stem/").input[0]
    levels = {"scale": np.array(1 / LEVELS, np.float32), "zero_point": np.array(ZERO, np.uint8)}
    q.quantize_static(
        str(ready), str(arg.to), Frames(arg.data, arg.frames), quant_format=q.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Add", "Concat", "Split", "Relu", "Resize", "Reshape", "Transpose"],
        per_channel=True, activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
        nodes_to_exclude=[only(nodes, "Conv", "/head/").name], calibrate_method=q.CalibrationMethod.MinMax,
        extra_options={"TensorQuantOverrides": {taken: [levels]}},
    )
    ready.unlink()
    model = onnx.load(arg.to)
    as_levels(model.graph)
    whole_sums(model.graph)
    if "com.microsoft" not in {o.domain for o in model.opset_import}:
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, arg.to)
    print(f"{arg.to}: {arg.to.stat().st_size} bytes")


if __name__ == "__main__":
    main()
