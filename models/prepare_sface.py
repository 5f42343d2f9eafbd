#!/usr/bin/env python3
"""Makes SFace fast without changing what it answers.

The packaged file stores its weights as 8-bit blocks that are expanded on every run, keeps batch
normalisations apart from the convolutions before them, and uses PRelu, for which ONNX Runtime
leaves its blocked (NCHWc) layout and comes back, 27 times a run. This script

  1. expands the DequantizeLinear weights once,
  2. folds every batch normalisation into the convolution or matrix product beside it,
  3. writes PRelu(x, a) as a*x + (1 - a)*Relu(x), both factors as batch normalisations, which
     ONNX Runtime keeps in its blocked layout,
  4. drops the 29 graph inputs that nothing feeds.

All folding is done in float64 and rounded to float32 once, with operations whose result does not
depend on the machine (no BLAS), so that every machine writes the same bytes.

  prepare_sface.py SOURCE RESULT            write RESULT
  prepare_sface.py --verify SOURCE RESULT   run both on the same pictures and compare (needs onnxruntime)
"""

import math
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOLERANCE = 1e-5
"""Largest difference between an output of the source and of the result, in units of the output."""


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def dequantize(node, values):
    """What a DequantizeLinear gives, float64: per tensor, per axis or blocked."""
    weights, scale, zero = (values[name].astype(np.float64) for name in node.input)
    attrs = attributes(node)
    axis, block = attrs.get("axis", 1), attrs.get("block_size", 0)
    if block:
        cut = tuple(slice(0, size) for size in weights.shape)
        scale, zero = (np.repeat(v, block, axis)[cut] for v in (scale, zero))
    elif scale.size > 1:
        shape = [1] * weights.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (weights - zero) * scale


class Builder:
    """Collects the nodes and constants of the new graph."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, value):
        value = np.ascontiguousarray(value.astype(np.float32))
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op, inputs, output, **attrs):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attrs))
        return output

    def scale(self, x, factor, output):
        """x * factor per channel, as a batch normalisation."""
        zero, one = np.zeros_like(factor), np.ones_like(factor)
        parts = {"gamma": factor, "beta": zero, "mean": zero, "variance": one}
        inputs = [x] + [self.constant(f"{output}_{part}", v) for part, v in parts.items()]
        return self.node("BatchNormalization", inputs, output, epsilon=0.0)

    def prelu(self, x, slope, output):
        positive = self.node("Relu", [x], f"{output}_relu")
        line = self.scale(x, slope, f"{output}_line")
        bend = self.scale(positive, 1.0 - slope, f"{output}_bend")
        return self.node("Add", [line, bend], output)


def convert(source):
    values = {t.name: numpy_helper.to_array(t) for t in source.graph.initializer}
    for node in source.graph.node:
        if node.op_type == "DequantizeLinear":
            values[node.output[0]] = dequantize(node, values)
        elif node.op_type == "Reshape" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]].reshape(values[node.input[1]])

    def value(name):
        return values[name].astype(np.float64)

    def affine(bn):
        """A batch normalisation as factor and offset per channel."""
        gamma, beta, mean, variance = (value(name) for name in bn.input[1:5])
        factor = gamma / np.sqrt(variance + attributes(bn)["epsilon"])
        return factor, beta - mean * factor

    chain = [n for n in source.graph.node if n.op_type not in ("DequantizeLinear", "Reshape", "Constant")]
    out, x, at = Builder(), "data", 0

    def take(*kinds):
        nonlocal at
        nodes = chain[at : at + len(kinds)]
        if tuple(n.op_type for n in nodes) != kinds:
            raise SystemExit(f"prepare_sface: expected {kinds} at node {at}, found {[n.op_type for n in nodes]}")
        at += len(kinds)
        return nodes

    for node in take("Sub", "Mul"):
        x = out.node(node.op_type, [x, out.constant(node.input[1], value(node.input[1]))], node.output[0])
    while chain[at].op_type == "Conv":
        conv, bn, prelu = take("Conv", "BatchNormalization", "PRelu")
        factor, offset = affine(bn)
        name = conv.output[0]
        weights = out.constant(f"{name}_weight", value(conv.input[1]) * factor[:, None, None, None])
        x = out.node("Conv", [x, weights, out.constant(f"{name}_bias", offset)], name, **attributes(conv))
        x = out.prelu(x, value(prelu.input[1]).reshape(-1), prelu.output[0])

    # Features, normalised twice around one matrix product: all of it is one matrix product.
    before, _, _, product, after = take("BatchNormalization", "Dropout", "Flatten", "Gemm", "BatchNormalization")
    weights, bias = value(product.input[1]), value(product.input[2])
    factor, offset = affine(before)
    area = weights.shape[1] // factor.size
    factor, offset = np.repeat(factor, area), np.repeat(offset, area)
    bias = bias + np.array([math.fsum(row) for row in weights * offset])
    weights = weights * factor
    factor, offset = affine(after)
    weights, bias = weights * factor[:, None], bias * factor + offset
    x = out.node("Flatten", [x], "features")
    inputs = [x, out.constant("fc1_weight", weights), out.constant("fc1_bias", bias)]
    out.node("Gemm", inputs, "fc1", transB=1)
    if at != len(chain):
        raise SystemExit(f"prepare_sface: {len(chain) - at} nodes left over")

    graph = helper.make_graph(
        out.nodes,
        "sface_2021dec_fp32",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 128])],
        out.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def verify(source, result):
    import onnxruntime

    model = onnx.load(source)
    fed = [i for i in model.graph.input if i.name == "data"]
    del model.graph.input[:]
    model.graph.input.extend(fed)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(m, options, providers=["CPUExecutionProvider"])
        for m in (model.SerializeToString(), result)
    ]
    random = np.random.default_rng(20211201)
    worst = 0.0
    for kind in range(8):
        picture = random.uniform(0, 255, (1, 3, 112, 112)) if kind % 2 else np.full((1, 3, 112, 112), 36.0 * kind)
        a, b = (s.run(None, {"data": picture.astype(np.float32)})[0] for s in sessions)
        worst = max(worst, float(np.abs(a - b).max()))
    print(f"prepare_sface: largest difference on 8 pictures: {worst:.2e} (allowed {TOLERANCE:.0e})")
    if not worst <= TOLERANCE:
        raise SystemExit("prepare_sface: the prepared model answers differently")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) == 3 and arguments[0] == "--verify":
        verify(*arguments[1:])
    elif len(arguments) == 2:
        with open(arguments[1], "wb") as file:
            file.write(convert(onnx.load(arguments[0])).SerializeToString(deterministic=True))
    else:
        raise SystemExit(__doc__)
