"""Trains the second look on what the detector proposes, within a time budget, resumably.

    OMP_NUM_THREADS=1 taskset -c 0 python train_look.py --data DIR --cache DIR --out DIR --minutes 75

The proposals come from `proposals.py`; frames, splits and kept scenes are those of `train.py`.
"""

import numpy as np
import torch
import torch.nn.functional as F

from ap import ap50, iou
from data import H, IGNORE, W, pack
from look import HALF, NEAR, SIDE, UNIT, WIDE, Look, moved, side_of
from loop import Loop, Split, arguments
from model import CLASSES
from train import right

POSITIVE = 0.25  # a proposal that overlaps an object by more (IoU) is to become it


class Frames:
    """Frames with their proposals, and what each proposal really is."""

    def __init__(self, frames, boxes, picked, proposals):
        self.frames, self.boxes = frames, boxes
        sub = {i: frames[i].astype(np.float32) for i in picked}
        self.mean, self.dev = np.zeros(len(frames), np.float32), np.ones(len(frames), np.float32)
        for i, s in sub.items():
            self.mean[i], self.dev[i] = s.mean(), max(s.std(), 1e-3)
        rows = proposals[np.isin(proposals[:, 0].astype(int), list(picked))]
        self.frame, self.box, self.score = rows[:, 0].astype(int), rows[:, 3:7], rows[:, 2]
        self.label = rows[:, 1].astype(int)
        order = np.argsort(self.frame, kind="stable")
        self.frame, self.box, self.score, self.label = (
            v[order] for v in (self.frame, self.box, self.score, self.label))
        self.truth = np.zeros((len(order), 4), np.float32)
        self.kind = np.full(len(order), -1)  # class; -1 nothing, -2 neither right nor wrong
        start = np.searchsorted(self.frame, list(picked))
        end = np.searchsorted(self.frame, list(picked), "right")
        for i, a, b in zip(picked, start, end):
            self.kind[a:b], self.truth[a:b] = judge(self.box[a:b], boxes[i])


def judge(box, truth):
    """(kind, true box) of each proposal in one frame."""
    kind, match = np.full(len(box), -1), np.zeros((len(box), 4), np.float32)
    if not len(truth) or not len(box):
        return kind, match
    corners = np.concatenate((truth[:, 1:3], truth[:, 1:3] + truth[:, 3:5]), 1)
    skip = truth[:, 0] == IGNORE
    over = iou(box, corners)
    if skip.any():
        lo = np.maximum(box[:, None, :2], corners[skip][None, :, :2])
        hi = np.minimum(box[:, None, 2:], corners[skip][None, :, 2:])
        part = np.clip(hi - lo, 0, None).prod(2) / np.maximum((box[:, 2:] - box[:, :2]).prod(1), 1e-6)[:, None]
        kind[(part > 0.5).any(1)] = -2
        over[:, skip] = 0
    best = over.argmax(1)
    hit = over[np.arange(len(box)), best] > POSITIVE
    kind[hit] = truth[best[hit], 0]
    match[hit] = corners[best[hit]]
    return kind, match


def cut(frames, at, box, mean, dev, factor, turn):
    """[N,1,40,40]: means of 2x2 bilinear samples, as RoiAlign takes them; what lies outside is the
    frame's mean. `turn` mirrors and transposes (bits 0, 1 and 2)."""
    n, k = len(at), 2 * SIDE
    side = (factor / NEAR) * side_of(torch.from_numpy(box)).numpy()
    middle = (box[:, :2] + box[:, 2:]) / 2
    step = ((np.arange(k, dtype=np.float32) + 0.5) / k - 0.5)[None]
    x = middle[:, :1] + step * side[:, None] - 0.5
    y = middle[:, 1:] + step * side[:, None] - 0.5
    inside = ((y > -1) & (y < H))[:, :, None] & ((x > -1) & (x < W))[:, None]
    x, y = np.clip(x, 0, W - 1), np.clip(y, 0, H - 1)
    x0, y0 = np.minimum(x.astype(np.int64), W - 2), np.minimum(y.astype(np.int64), H - 2)
    fx, fy = (x - x0)[:, None], (y - y0)[:, :, None]
    out = np.empty((n, k, k), np.float32)
    for i in range(n):
        f = frames[at[i], y0[i, 0] : y0[i, -1] + 2, x0[i, 0] : x0[i, -1] + 2].astype(np.float32)
        xs, ys = x0[i] - x0[i, 0], y0[i] - y0[i, 0]
        rows = f[:, xs] * (1 - fx[i]) + f[:, xs + 1] * fx[i]
        out[i] = rows[ys] * (1 - fy[i]) + rows[ys + 1] * fy[i]
    out = (out - mean[:, None, None]) / dev[:, None, None] * inside
    out = out.reshape(n, SIDE, 2, SIDE, 2).mean((2, 4))
    for bit, flip in ((1, lambda o: o[:, :, ::-1]), (2, lambda o: o[:, ::-1]), (4, lambda o: o.swapaxes(1, 2))):
        pick = (turn & bit) > 0
        out[pick] = flip(out[pick])
    return torch.from_numpy(out)[:, None]


def turned(box, middle, turn):
    """Boxes relative to a crop's middle, turned as the crop was."""
    b = (box.reshape(-1, 2, 2) - middle[:, None]).copy()
    for bit, axis in ((1, 0), (2, 1)):
        pick = (turn & bit) > 0
        b[pick, :, axis] = -b[pick, ::-1, axis]
    pick = (turn & 4) > 0
    b[pick] = b[pick][:, :, ::-1]
    return b.reshape(-1, 4)


class Samples:
    """Augmented proposals with what they should become; deterministic by seed."""

    def __init__(self, source, seed):
        self.s, self.rng = source, np.random.default_rng(seed)
        self.calm = False  # near the end: as the detector proposes
        s = source
        # Nothing that scores low is common; people are what it is for.
        p = np.where(s.kind >= 0, np.array([1.0, 0.5, 1.0, 3.0])[np.maximum(s.kind, 0)],
                     np.where(s.kind == -1, 0.05 + 0.95 * np.minimum(s.score / 0.3, 1) ** 1.5, 0.0))
        self.cumulative = np.cumsum(p / p.sum())

    def draw(self, count):
        s, rng = self.s, self.rng
        i = np.searchsorted(self.cumulative, rng.random(count) * self.cumulative[-1])
        i = np.minimum(i, len(self.cumulative) - 1)
        kind, truth, box = s.kind[i], s.truth[i], s.box[i].copy()
        # As the detector outlined it, or a little otherwise.
        size, middle = box[:, 2:] - box[:, :2], (box[:, 2:] + box[:, :2]) / 2
        loose = (rng.random(count) < (0.2 if self.calm else 0.5))[:, None]
        middle += loose * rng.normal(0, 0.08, (count, 2)) * size
        size = size * np.exp(loose * rng.normal(0, 0.12, (count, 2)))
        box = np.concatenate((middle - size / 2, middle + size / 2), 1).astype(np.float32)
        turn = rng.integers(0, 8, count)
        turn[rng.random(count) < (0.9 if self.calm else 0.5)] &= 1  # as it stands, or mirrored
        mean, dev = s.mean[s.frame[i]], s.dev[s.frame[i]]
        near = cut(s.frames, s.frame[i], box, mean, dev, NEAR, turn)
        wide = cut(s.frames, s.frame[i], box, mean, dev, WIDE, turn)
        gain = torch.from_numpy(np.exp(rng.normal(0, 0.15, count)).astype(np.float32))[:, None, None, None]
        shift = torch.from_numpy(rng.normal(0, 0.15, count).astype(np.float32))[:, None, None, None]
        bend = torch.from_numpy((rng.normal(0, 0.06, count) * (rng.random(count) < 0.3)).astype(np.float32))
        noise = torch.from_numpy((rng.uniform(0, 0.15, count) * (rng.random(count) < 0.3)).astype(np.float32))
        views = []
        for v in (near, wide):
            v = v * gain + shift
            v = v + bend[:, None, None, None] * v * v.abs()
            views.append(v + noise[:, None, None, None] * torch.randn(v.shape))
        here = turned(box, middle.astype(np.float32), turn)
        there = turned(truth, middle.astype(np.float32), turn)
        return views, kind, torch.from_numpy(here), torch.from_numpy(there)


def giou(a, b):
    area = lambda r: (r[:, 2] - r[:, 0]) * (r[:, 3] - r[:, 1])
    both = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(0).prod(1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    union = area(a) + area(b) - both
    return both / union, both / union - (hull - union) / hull


def log_side(box):
    return (side_of(box) / UNIT).log()[:, None]


def loss_of(out, kind, box, truth):
    n = len(CLASSES)
    target = torch.zeros(len(kind), n)
    box_loss = out.sum() * 0
    at = torch.from_numpy(np.flatnonzero(kind >= 0))
    if len(at):
        over, g = giou(moved(box[at], out[at, n:]), truth[at])
        box_loss = (1 - g).mean()
        target[at, torch.from_numpy(kind[kind >= 0])] = right(over.detach())
    p = out[:, :n].sigmoid()
    each = F.binary_cross_entropy_with_logits(out[:, :n], target, reduction="none")
    each = each * (0.25 + (target - p).abs().detach())  # what is settled counts less
    return each.sum(1).mean(), box_loss


@torch.no_grad()
def look_at(net, source, floor):
    """For each proposal from `floor` on: (index, logits, box after the look)."""
    net.eval()
    pick = np.flatnonzero(source.score >= floor)
    logits, boxes = [], []
    for a in range(0, len(pick), 256):
        i = pick[a : a + 256]
        f, box = source.frame[i], source.box[i]
        still = np.zeros(len(i), int)
        views = [cut(source.frames, f, box, source.mean[f], source.dev[f], k, still) for k in (NEAR, WIDE)]
        b = torch.from_numpy(box)
        out = net(*views, log_side(b))
        logits.append(out[:, : len(CLASSES)])
        boxes.append(moved(b, HALF * out[:, len(CLASSES) :]))
    return pick, torch.cat(logits).numpy(), torch.cat(boxes).numpy()


def fuse(source, pick, logits, boxes, picked, weights, same=0.6):
    """Finds of each frame after the look: [(label, score, box)] as `ap50` takes them."""
    first = source.score[pick]
    first = np.log(first / (1 - first))
    label = source.label[pick]
    score = weights[0] * first + weights[1] * logits[np.arange(len(pick)), label]
    score = 1 / (1 + np.exp(-score))
    frames = source.frame[pick]
    result = []
    for i in picked:
        a, b = np.searchsorted(frames, i), np.searchsorted(frames, i, "right")
        order = a + np.argsort(-score[a:b], kind="stable")
        over = iou(boxes[order], boxes[order])
        limit = np.where(label[order][:, None] == label[order][None], same, 0.8)
        gone, found = np.zeros(len(order), bool), []
        for k in range(len(order)):
            if not gone[k]:
                found.append((int(label[order[k]]), float(score[order[k]]), boxes[order[k]]))
                gone |= over[k] > limit[k]
        result.append(found)
    return result


def measure(net, sources):
    for name, (source, picked) in sources.items():
        pick, logits, boxes = look_at(net, source, 0.1)
        truths = [source.boxes[i] for i in picked]
        for weights in ((1, 0), (0, 1), (0.6, 0.9)):
            got = ap50(fuse(source, pick, logits, boxes if weights[1] else source.box[pick], picked, weights), truths)
            print(f"       {name} {weights}: " + " ".join(f"{k} {v:.3f}" for k, v in got.items() if v is not None), flush=True)


def main():
    arg = arguments(__doc__, 96)
    arg.add_argument("--share", type=float, default=1 / 7, help="of simulated proposals in a batch")
    arg = arg.parse_args()
    split = Split(arg)
    proposals = np.load(arg.cache / "proposals-frames.npy")
    of = lambda picked: Frames(split.frames, split.boxes, picked, proposals)
    real, drawn, share = Samples(of(split.train), arg.seed), None, 0
    checks = {name: (of(picked), picked) for name, picked in (("held out", split.held), ("val", split.val)) if picked}
    if arg.nights:
        _, more, more_boxes = pack(arg.nights, arg.cache, "nights")
        rows = np.load(arg.cache / "proposals-nights.npy")
        drawn = Samples(Frames(more, more_boxes, range(len(more)), rows), arg.seed + 1)
        share = int(arg.batch * arg.share)
    for name, s in (("real", real), ("drawn", drawn)):
        if s:
            print(name, {k: int((s.s.kind == k).sum()) for k in range(-2, 4)}, flush=True)

    def batch(calm):
        real.calm = calm
        parts = [real.draw(arg.batch - share)] + ([drawn.draw(share)] if drawn else [])
        near, wide = (torch.cat([p[0][v] for p in parts]) for v in (0, 1))
        box, truth = (torch.cat([p[v] for p in parts]) for v in (2, 3))
        return near, wide, np.concatenate([p[1] for p in parts]), box, truth

    def losses(made):
        near, wide, kind, box, truth = made
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = loop.net(near, wide, log_side(box))
        score_loss, box_loss = loss_of(out.float(), kind, box, truth)
        return score_loss + 0.4 * box_loss, dict(score=score_loss.item(), box=box_loss.item())

    deep = lambda name, p: p.ndim == 4 and p.shape[1] > 1 or name == "flat.weight"
    loop = Loop(Look, deep, arg, "look.pt")
    loop.run(batch, losses, lambda net: measure(net, checks), 200)


if __name__ == "__main__":
    main()
