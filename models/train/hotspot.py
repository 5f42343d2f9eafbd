"""Writes the physical hotspot detector: an ONNX graph of standard operators, nothing learned.

    python hotspot.py ../thermal/hotspot.onnx

`frame` [1, 1, height, width] f32 takes a camera's values as they are, 8 or 16
bit, warm is high; height and width are multiples of 32. For cells of 2, 4 and 8
pixels `contrast_N` [1, 1, height/N, width/N] holds, 0 where it is negative: the
mean of 3x3 cells less the mean of the ring around them (9x9 without the inner
5x5), in deviations of the background nearby. A deviation is the root mean square
of cell less ring over some 20x20 cells, each value cut at twice the frame's own,
so that one hot object does not hide its neighbour; and never less than a quarter
of the frame's, so that a calm patch is not all peaks. Scale and offset of the
values cancel.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEVELS = (2, 4, 8)

nodes, weights = [], []


def const(name, value):
    weights.append(numpy_helper.from_array(np.array(value), name))
    return name


def op(kind, inputs, output, **attributes):
    nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
    return output


def box(x, side, output):
    """Mean over side x side cells without padding, first along rows, then along columns."""
    rows = op("AveragePool", [x], output + "_rows", kernel_shape=[1, side])
    return op("AveragePool", [rows], output, kernel_shape=[side, 1])


def mean(x, output):
    return op("ReduceMean", [x], output, axes=[2, 3], keepdims=1)


def main(path):
    f32 = np.float32
    axes = const("four", np.array([0, 0, 4, 4, 0, 0, 4, 4], np.int64))
    nine, five, ring = (const(n, f32(v)) for n, v in (("n81", 81 / 56), ("n25", 25 / 56), ("tiny", 1e-9)))
    four, sixteenth = const("cut", f32(4.0)), const("calm", f32(1 / 16))
    ups = const("ups", np.array([1, 1, 4, 4], f32))

    # Normalised after the first shrinking: nothing below depends on it but the precision of f32.
    small = op("AveragePool", ["frame"], "small", kernel_shape=[2, 2], strides=[2, 2])
    x = op("Sub", [small, mean(small, "level")], "cells_2")
    outputs = []
    for side in LEVELS:
        n = f"_{side}"
        if side > LEVELS[0]:
            x = op("AveragePool", [x], "cells" + n, kernel_shape=[2, 2], strides=[2, 2])
        padded = op("Pad", [x, axes], "padded" + n, mode="edge")
        wide = box(padded, 9, "wide" + n)
        guard = box(x_pad(padded, 2, n, "guard"), 5, "guard" + n)
        core = box(x_pad(padded, 3, n, "core"), 3, "core" + n)
        ground = op("Sub", [op("Mul", [wide, nine], "wide81" + n), op("Mul", [guard, five], "guard25" + n)],
                    "ground" + n)
        off = op("Sub", [x, ground], "off" + n)
        square = op("Mul", [off, off], "square" + n)
        frame_wide = mean(square, "rough" + n)
        limit = op("Mul", [frame_wide, four], "limit" + n)
        cut = op("Min", [square, limit], "bounded" + n)
        coarse = op("AveragePool", [cut], "coarse" + n, kernel_shape=[4, 4], strides=[4, 4])
        near = op("AveragePool", [coarse], "near" + n, kernel_shape=[5, 5], pads=[2, 2, 2, 2],
                  count_include_pad=0)
        floor = op("Add", [op("Mul", [frame_wide, sixteenth], "calm" + n), ring], "floor" + n)
        # Smooth from block to block: a step would make peaks of its own.
        spread = op("Resize", [op("Add", [near, floor], "power" + n), "", ups], "spread" + n,
                    mode="linear", coordinate_transformation_mode="half_pixel")
        dev = op("Sqrt", [spread], "dev" + n)
        op("Relu", [op("Div", [op("Sub", [core, ground], "rise" + n), dev], "ratio" + n)], "contrast" + n)
        outputs.append(helper.make_tensor_value_info(
            "contrast" + n, TensorProto.FLOAT, [1, 1, f"rows{n}", f"columns{n}"]))
    frame = helper.make_tensor_value_info("frame", TensorProto.FLOAT, [1, 1, "height", "width"])
    graph = helper.make_graph(nodes, "hotspot", [frame], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="vigil")
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)


def x_pad(padded, less, n, name):
    """The padded cells with `less` fewer on each side."""
    starts = const(f"from_{name}{n}", np.array([less, less], np.int64))
    ends = const(f"to_{name}{n}", np.array([-less, -less], np.int64))
    axes = const(f"axes_{name}{n}", np.array([2, 3], np.int64))
    return op("Slice", [padded, starts, ends, axes], f"for_{name}{n}")


if __name__ == "__main__":
    main(sys.argv[1])
