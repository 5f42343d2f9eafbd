"""Boxes out of the network's map, and AP50, for choosing among checkpoints.

The figures that are published come from `vigil eval thermal`, which runs the
exported graph and states its rules.
"""

import numpy as np
import torch

from model import BOX_UNIT, CLASSES, STRIDE


def to_boxes(distance):
    """[N,4,h,w] raw -> x0,y0,x1,y1 in pixels."""
    h, w = distance.shape[-2:]
    d = distance.clamp(-5, 5).exp() * BOX_UNIT
    x = (torch.arange(w) + 0.5) * STRIDE
    y = ((torch.arange(h) + 0.5) * STRIDE)[:, None]
    return torch.stack((x - d[:, 0], y - d[:, 1], x + d[:, 2], y + d[:, 3]), 1)


def iou(a, b):
    lo = np.maximum(a[:, None, :2], b[None, :, :2])
    hi = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(hi - lo, 0, None).prod(2)
    area = lambda r: (r[:, 2:] - r[:, :2]).prod(1)
    return both / np.maximum(area(a)[:, None] + area(b)[None] - both, 1e-6)


def decode(out, floor=0.02, most=200, overlap=0.5):
    """One frame's map [C+4,h,w] -> list of (class, score, box), best first."""
    n = len(CLASSES)
    score = out[:n].sigmoid()
    boxes = to_boxes(out[None, n:])[0].reshape(4, -1).T.numpy()
    found = []
    for k in range(n):
        s = score[k].reshape(-1).numpy()
        top = np.flatnonzero(s > floor)
        top = top[np.argsort(-s[top])][:1500]
        kept = []
        over = iou(boxes[top], boxes[top]) if len(top) else None
        gone = np.zeros(len(top), bool)
        for i in range(len(top)):
            if not gone[i]:
                kept.append(i)
                gone |= over[i] > overlap
        found += [(k, float(s[top[i]]), boxes[top[i]]) for i in kept[:most]]
    return found


def ap50(frames, truths, least=0.5):
    """{class: AP50}: all-point interpolation, one match a box, DontCare left out. `least`: another IoU than 0.5."""
    result = {}
    for k, name in enumerate(CLASSES):
        rows, total = [], 0
        for found, truth in zip(frames, truths):
            box = lambda t: np.concatenate((t[:, 1:3], t[:, 1:3] + t[:, 3:5]), 1)
            mine, skip = box(truth[truth[:, 0] == k]), box(truth[truth[:, 0] == len(CLASSES)])
            total += len(mine)
            used = np.zeros(len(mine), bool)
            for _, s, b in sorted((f for f in found if f[0] == k), key=lambda f: -f[1]):
                over = iou(b[None], mine)[0] * ~used if len(mine) else np.zeros(1)
                if over.max() >= least:
                    used[over.argmax()] = True
                    rows.append((s, 1))
                elif not len(skip) or not inside(b, skip):
                    rows.append((s, 0))
        rows.sort(key=lambda r: -r[0])
        hit = np.cumsum([r[1] for r in rows]) if rows else np.zeros(0)
        recall = hit / max(total, 1)
        precision = hit / np.arange(1, len(hit) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        result[name] = float(np.sum(np.diff(recall, prepend=0) * best)) if total else None
    return result


def inside(b, areas):
    lo, hi = np.maximum(b[:2], areas[:, :2]), np.minimum(b[2:], areas[:, 2:])
    part = np.clip(hi - lo, 0, None).prod(1) / max((b[2:] - b[:2]).prod(), 1e-6)
    return part.max() >= 0.5
