"""Writes the second look as one 8-bit ONNX graph around what `train_look.py` trained.

    python export_look.py --checkpoint run/look.pt --to ../thermal/look.onnx --data DIR --cache DIR

`near` and `wide` [n, 1, 40, 40] f32 are what `train_look.py`'s `cut` makes of each proposal, `size` [n, 1]
the logarithm of the near crop's side over 64 px, `first` [n, 1] the logit of the score that the detector gave.
`seen` [n, 8] holds the logits of Person, Car, Bicycle and OtherVehicle after both looks, and how the box
moves (`look.py`, `moved`). How much each look says is fitted
(logistic regression) on the proposals of the scenes that were kept from training, so that a score is a
probability there; a network that was trained on all scenes takes it over from one that was not (`--says`).
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxruntime.quantization as q
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from ap import iou
from data import hold_out, pack, scenes
from export import fold
from look import HALF, NEAR, SIDE, WIDE, Look
from model import CLASSES
from train_look import Frames, cut, log_side, look_at

FLOOR = 0.15  # proposals from this score on are looked at again


def fitted(first, second, right):
    """Weights (a, b, c) of a * first + b * second + c for the probability of `right`: Newton's method."""
    x = np.stack((first, second, np.ones_like(first)), 1).astype(np.float64)
    w = np.array([0.5, 0.5, 0.0])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        h = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(3)
        w += np.linalg.solve(h, x.T @ (right - p) - 1e-3 * w)
    return w


def weigh(net, source):
    """How much each look says, by class: [3, classes]. Of the few other vehicles together with cars."""
    pick, logits, boxes = look_at(net, source, FLOOR)
    known = source.kind[pick] != -2
    pick, logits, boxes = pick[known], logits[known], boxes[known]
    label = source.label[pick]
    over = np.array([iou(b[None], t[None])[0, 0] for b, t in zip(boxes, source.truth[pick])])
    right = (source.kind[pick] == label) & (over >= 0.5)
    first = np.log(source.score[pick] / (1 - source.score[pick]))
    second = logits[np.arange(len(pick)), label]
    weights = []
    for k, name in enumerate(CLASSES):
        mine = np.isin(label, (1, 3)) if k in (1, 3) else label == k
        weights.append(fitted(first[mine], second[mine], right[mine]))
        print(f"{name}: {mine.sum()} proposals, {right[mine].sum()} right:"
              " logit = {:.3f} first + {:.3f} second + {:.3f}".format(*weights[-1]))
    return np.array(weights, np.float32).T


def said(path):
    """The weights of a graph that this wrote before."""
    stored = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    return np.concatenate([stored[name] for name in ("first_says", "second_says", "bias")])


class Views(q.CalibrationDataReader):
    def __init__(self, source, count):
        pick = np.random.default_rng(1).choice(len(source.score), count, replace=False, p=source.score / source.score.sum())
        f, box = source.frame[pick], source.box[pick]
        still = np.zeros(count, int)
        near, wide = (cut(source.frames, f, box, source.mean[f], source.dev[f], k, still) for k in (NEAR, WIDE))
        size = log_side(torch.from_numpy(box))
        self.rows = iter([{"near": n[None].numpy(), "wide": w[None].numpy(), "size": s[None].numpy()}
                          for n, w, s in zip(near, wide, size)])

    def get_next(self):
        return next(self.rows, None)


def joined(core, weights):
    """The network, and both looks joined behind it."""
    n, nodes, kept = len(CLASSES), list(core.graph.node), list(core.graph.initializer)

    def const(name, value):
        kept.append(numpy_helper.from_array(np.array(value), name))
        return name

    def op(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    start, middle, end, axis = (const(k, np.array([v], np.int64)) for k, v in
                                (("start", 0), ("middle", n), ("end", 2 * n), ("axis", 1)))
    first = op("Mul", ["first", const("first_says", weights[:1])], "weighed_first")
    second = op("Slice", ["out", start, middle, axis], "second")
    second = op("Mul", [second, const("second_says", weights[1:2])], "weighed_second")
    both = op("Add", [op("Add", [second, first], "unbiased"), const("bias", weights[2:])], "logit")
    move = op("Mul", [op("Slice", ["out", middle, end, axis], "whole_move"), const("half", np.float32(HALF))], "move")
    op("Concat", [both, move], "seen", axis=1)
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    views = [value(v, ["n", 1, SIDE, SIDE]) for v in ("near", "wide")]
    graph = helper.make_graph(nodes, "look", views + [value("size", ["n", 1]), value("first", ["n", 1])],
                              [value("seen", ["n", 2 * n])], kept)
    model = helper.make_model(graph, opset_imports=core.opset_import, producer_name="vigil")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def export_core(net, to):
    fold(net)
    view = torch.zeros(2, 1, SIDE, SIDE)
    torch.onnx.export(
        net, (view, view, torch.zeros(2, 1)), str(to), opset_version=17, dynamo=False,
        input_names=["near", "wide", "size"], output_names=["out"],
        dynamic_axes={k: {0: "n"} for k in ("near", "wide", "size", "out")},
    )
    graph = onnx.load(to)
    for node in graph.graph.node:  # nothing of the machine that wrote it
        node.doc_string = ""
    graph.producer_name, graph.producer_version, graph.doc_string = "vigil", "", ""
    onnx.save(graph, to)


def main():
    arg = argparse.ArgumentParser()
    arg.add_argument("--checkpoint", type=Path, required=True)
    arg.add_argument("--to", type=Path, required=True)
    arg.add_argument("--data", type=Path, required=True)
    arg.add_argument("--cache", type=Path, required=True)
    arg.add_argument("--hold-out", type=float, default=0.11)
    arg.add_argument("--says", type=Path, help="an earlier look.onnx whose word on how much each look says is taken")
    arg.add_argument("--seed", type=int, default=1, help="of the kept scenes too: one for all runs")
    arg = arg.parse_args()
    torch.set_num_threads(1)
    keys, frames, boxes = pack(arg.data, arg.cache)
    held = hold_out(keys, scenes(keys, frames, arg.cache), arg.hold_out, arg.seed)
    proposals = np.load(arg.cache / "proposals-frames.npy")
    train = sorted({i for i, (s, _) in enumerate(keys) if s == "train"} - set(held))[::12]
    net = Look()
    saved = torch.load(arg.checkpoint, weights_only=False, map_location="cpu")
    net.load_state_dict(saved["mean"])
    net.eval()
    kept = Frames(frames, boxes, held, proposals)
    weights = said(arg.says) if arg.says else weigh(net, kept)
    plain, ready, small = (arg.to.with_suffix(s) for s in (".f32", ".ready", ".int8"))
    export_core(net, plain)
    quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
    # Of one channel an 8-bit convolution is slower than one of f32.
    stems = [n.name for n in onnx.load(ready).graph.node if n.op_type == "Conv" and n.input[0] in ("near", "wide")]
    q.quantize_static(
        str(ready), str(small), Views(Frames(frames, boxes, train, proposals), 1500), quant_format=q.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Add", "Concat", "Relu"], per_channel=True,
        activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8, nodes_to_exclude=stems,
        calibrate_method=q.CalibrationMethod.MinMax,
    )
    whole, exact = joined(onnx.load(small), weights), joined(onnx.load(plain), weights)
    onnx.save(whole, arg.to)
    session = lambda m: onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
    sessions, worst, apart = [session(exact), session(whole)], 0.0, []
    for i in held[::20]:
        at = np.flatnonzero((kept.frame == i) & (kept.score >= FLOOR))
        if not len(at):
            continue
        box, first = kept.box[at], np.log(kept.score[at] / (1 - kept.score[at]))[:, None].astype(np.float32)
        with torch.no_grad():
            f, still = kept.frame[at], np.zeros(len(at), int)
            views = [cut(frames, f, box, kept.mean[f], kept.dev[f], k, still) for k in (NEAR, WIDE)]
            size = log_side(torch.from_numpy(box))
            out = net(*views, size)
            wanted = torch.cat((torch.from_numpy(first) * weights[0] + out[:, :4] * weights[1] + weights[2],
                                HALF * out[:, 4:]), 1).numpy()
        fed = {"near": views[0].numpy(), "wide": views[1].numpy(), "size": size.numpy(), "first": first}
        got = [s.run(None, fed)[0] for s in sessions]
        worst = max(worst, np.abs(got[0] - wanted).max())
        apart.append(np.abs(got[1] - wanted))
    for path in (plain, ready, small):
        path.unlink()
    apart = np.concatenate(apart)
    print(f"step {saved['step']}: {arg.to}, {arg.to.stat().st_size} bytes, f32 differs by at most {worst:.1e}; 8 bit on"
          f" average by {apart[:, :4].mean():.3f} (logits), {apart[:, 4:].mean():.4f} (moves)")
    assert worst < 1e-3, "the exported graph is another network"


if __name__ == "__main__":
    main()
