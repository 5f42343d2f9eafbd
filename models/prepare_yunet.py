#!/usr/bin/env python3
"""Lets YuNet take pictures of any size that is a multiple of 32.

The network is fully convolutional; only the graph's declared dimensions say 640x640. They become
the symbols `height`, `width` and one count of cells per stride, which a session can fix again.
Nothing else changes.

  prepare_yunet.py SOURCE RESULT
"""

import sys

import onnx


def convert(model):
    height, width = model.graph.input[0].type.tensor_type.shape.dim[2:4]
    height.dim_param, width.dim_param = "height", "width"
    for output in model.graph.output:
        stride = output.name.rsplit("_", 1)[1]
        output.type.tensor_type.shape.dim[1].dim_param = f"cells_{stride}"
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    with open(sys.argv[2], "wb") as file:
        file.write(convert(onnx.load(sys.argv[1])).SerializeToString(deterministic=True))
