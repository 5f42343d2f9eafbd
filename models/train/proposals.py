"""What the detector proposes on every frame, for the second look to learn from.

    python proposals.py --model ../thermal/thermal.onnx --data DIR --cache DIR [--nights DIR]

Written to the cache as `proposals-frames.npy` and `proposals-nights.npy`: rows of frame, label,
score, x0, y0, x1, y1. The rules are those of `src/thermal/detect.rs`.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime

from ap import iou
from data import pack
from export import blocks
from model import BOX_UNIT, CLASSES, STRIDE

SAME, SAME_OF_OTHER_LABEL, SAY = 0.5, 0.8, 0.6


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def cells_of_map(out, floor):
    """A map [h,w,8] -> (label, score, box) of every cell and class from `floor` on, best first."""
    n = len(CLASSES)
    label, row, column = np.nonzero(np.moveaxis(out[..., :n], 2, 0) > np.log(floor / (1 - floor)))
    score = 1 / (1 + np.exp(-out[row, column, label]))
    best = np.argsort(-score, kind="stable")[:2000]
    label, row, column, score = label[best], row[best], column[best], score[best]
    d = np.exp(np.clip(out[row, column, n:].T, -5, 5)) * BOX_UNIT
    x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
    return label, score, np.stack((x - d[0], y - d[1], x + d[2], y + d[3]), 1)


def suppress(label, score, box, most=300):
    """One find an object, its box the mean of what its cells say: (label, score, box), best first."""
    over = iou(box, box)
    alike = label[:, None] == label[None]
    same = over > np.where(alike, SAME, SAME_OF_OTHER_LABEL)
    gone, kept = np.zeros(len(label), bool), []
    for i in range(len(label)):
        if not gone[i]:
            kept.append(i)
            gone |= same[i]
            if len(kept) == most:
                break
    say = np.where(alike & (over > SAY), score * over * over, 0)[kept]
    mean = say @ box / np.maximum(say.sum(1, keepdims=True), 1e-9)
    return label[kept], score[kept], mean


def propose(run, frame, floor):
    out = run.run(None, {"blocks": blocks(frame)})[0][0]
    return suppress(*cells_of_map(out, floor))


def gather(run, frames, floor, name):
    rows, begun = [], time.time()
    for i in range(len(frames)):
        label, score, box = propose(run, frames[i], floor)
        rows.append(np.column_stack((np.full(len(label), i), label, score, box)))
        if i % 200 == 199:
            left = (time.time() - begun) / (i + 1) * (len(frames) - i - 1)
            print(f"{name} {i + 1}/{len(frames)}, {sum(map(len, rows))} proposals, ETA {left:.0f} s", flush=True)
    return np.concatenate(rows).astype(np.float32)


def main():
    arg = argparse.ArgumentParser()
    arg.add_argument("--model", type=Path, required=True)
    arg.add_argument("--data", type=Path, required=True)
    arg.add_argument("--cache", type=Path, required=True)
    arg.add_argument("--nights", type=Path)
    arg.add_argument("--floor", type=float, default=0.08)
    arg = arg.parse_args()
    run = session(arg.model)
    for root, name in ((arg.data, "frames"), (arg.nights, "nights")):
        if root:
            _, frames, _ = pack(root, arg.cache, name)
            np.save(arg.cache / f"proposals-{name}.npy", gather(run, frames, arg.floor, name))


if __name__ == "__main__":
    main()
