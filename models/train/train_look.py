"""Trains the second look on what the detector proposes, within a time budget, resumably.

    OMP_NUM_THREADS=1 taskset -c 0 python train_look.py --data DIR --cache DIR --out DIR --minutes 75

The proposals come from `proposals.py`; frames, splits and kept scenes are those of `train.py`.
"""

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ap import ap50, iou
from data import H, IGNORE, W, hold_out, pack, scenes
from look import HALF, NEAR, SIDE, UNIT, WIDE, Look, moved, side_of
from model import CLASSES
from train import Muon, right

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
        loose = (rng.random(count) < 0.5)[:, None]
        middle += loose * rng.normal(0, 0.08, (count, 2)) * size
        size = size * np.exp(loose * rng.normal(0, 0.12, (count, 2)))
        box = np.concatenate((middle - size / 2, middle + size / 2), 1).astype(np.float32)
        turn = rng.integers(0, 8, count)
        turn[rng.random(count) < 0.5] &= 1  # as it stands, or mirrored
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
def look_at(net, source, floor, most=64):
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
    arg = argparse.ArgumentParser()
    arg.add_argument("--data", type=Path, required=True)
    arg.add_argument("--cache", type=Path, required=True)
    arg.add_argument("--out", type=Path, required=True)
    arg.add_argument("--minutes", type=float, default=75)
    arg.add_argument("--batch", type=int, default=96)
    arg.add_argument("--lr", type=float, default=3e-3)
    arg.add_argument("--seed", type=int, default=1, help="of the kept scenes too: one for all runs")
    arg.add_argument("--eval-minutes", type=float, default=10)
    arg.add_argument("--hold-out", type=float, default=0.11)
    arg.add_argument("--nights", type=Path, help="simulated frames (nights.py)")
    arg.add_argument("--share", type=float, default=1 / 7, help="of simulated proposals in a batch")
    arg.add_argument("--from", dest="start", type=Path, help="weights to go on from, new schedule")
    arg = arg.parse_args()
    torch.manual_seed(arg.seed)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    arg.out.mkdir(parents=True, exist_ok=True)

    keys, frames, boxes = pack(arg.data, arg.cache)
    scene = scenes(keys, frames, arg.cache)
    held = hold_out(keys, scene, arg.hold_out, arg.seed)
    val = [i for i, (s, _) in enumerate(keys) if s == "val"]
    train = sorted({i for i, (s, _) in enumerate(keys) if s == "train"} - set(held))
    proposals = np.load(arg.cache / "proposals-frames.npy")
    real = Samples(Frames(frames, boxes, train, proposals), arg.seed)
    checks = {n: (Frames(frames, boxes, p, proposals), p) for n, p in (("held out", held), ("val", val))}
    drawn = None
    if arg.nights:
        _, more, more_boxes = pack(arg.nights, arg.cache, "nights")
        rows = np.load(arg.cache / "proposals-nights.npy")
        drawn = Samples(Frames(more, more_boxes, range(len(more)), rows), arg.seed + 1)
    for name, s in (("real", real), ("drawn", drawn)):
        if s:
            print(name, {k: int((s.s.kind == k).sum()) for k in range(-2, 4)}, flush=True)

    net = Look().to(memory_format=torch.channels_last)
    mean = copy.deepcopy(net)
    inner, outer = [], []
    for name, p in net.named_parameters():
        deep = p.ndim == 4 and p.shape[1] > 1 or name == "flat.weight"
        (inner if deep else outer).append(p)
    opts = [Muon(inner, arg.lr), torch.optim.AdamW(outer, arg.lr, weight_decay=0.0)]
    step, spent, state = 0, 0.0, arg.out / "look.pt"
    if state.exists():
        saved = torch.load(state, weights_only=False)
        net.load_state_dict(saved["net"])
        mean.load_state_dict(saved["mean"])
        for o, s in zip(opts, saved["opts"]):
            o.load_state_dict(s)
        step, spent = saved["step"], saved["spent"]
        print(f"going on at step {step}, {spent / 60:.1f} min", flush=True)
    elif arg.start:
        saved = torch.load(arg.start, weights_only=False)
        net.load_state_dict(saved["mean"])
        mean.load_state_dict(saved["mean"])

    def save():
        torch.save(dict(net=net.state_dict(), mean=mean.state_dict(), opts=[o.state_dict() for o in opts],
                        step=step, spent=spent), str(state) + ".new")
        Path(str(state) + ".new").rename(state)

    budget, seen, shown, begun = arg.minutes * 60, [], spent, time.time() - spent
    evaluated = saved_at = spent
    while spent < budget:
        warm = min(1.0, (step + 1) / 200)
        rate = arg.lr * warm * max(0.5 * (1 + math.cos(math.pi * spent / budget)), 0.004)
        for o in opts:
            for g in o.param_groups:
                g["lr"] = rate
        net.train()
        t0 = time.time()
        share = int(arg.batch * arg.share) if drawn else 0
        parts = [real.draw(arg.batch - share)] + ([drawn.draw(share)] if drawn else [])
        near, wide = (torch.cat([p[0][v] for p in parts]) for v in (0, 1))
        kind = np.concatenate([p[1] for p in parts])
        box, truth = (torch.cat([p[v] for p in parts]) for v in (2, 3))
        loading = time.time() - t0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(near, wide, log_side(box))
        score_loss, box_loss = loss_of(out.float(), kind, box, truth)
        loss = score_loss + 0.4 * box_loss
        for o in opts:
            o.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(outer, 5.0)
        for o in opts:
            o.step()
        step += 1
        decay = min(0.9995, 1 - 10 / (step + 10)) if step > 50 else 0
        with torch.no_grad():
            for a, b in zip(mean.state_dict().values(), net.state_dict().values()):
                a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)
        spent = time.time() - begun
        seen.append((score_loss.item(), box_loss.item(), loading))
        if step % 200 == 0 or step in (10, 50):
            h, b, l = np.mean(seen, 0)
            per = (spent - shown) / len(seen)
            print(f"{spent / 60:6.1f} min step {step:6d} score {h:.4f} box {b:.3f} {1 / per:.2f} steps/s"
                  f" (loading {l / per:.0%}) lr {rate:.2e} ETA {(budget - spent) / 60:.0f} min", flush=True)
            seen, shown = [], spent
        if spent - saved_at > 120:
            save()
            saved_at = spent
        if spent - evaluated > arg.eval_minutes * 60 and spent < budget * 0.98:
            measure(mean, checks)
            spent = time.time() - begun
            evaluated = shown = spent
    save()
    measure(mean, checks)


if __name__ == "__main__":
    main()
