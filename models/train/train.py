"""Trains the thermal detector from scratch, within a time budget, resumably.

    OMP_NUM_THREADS=1 taskset -c 0 python train.py --data DIR --cache DIR --out DIR --minutes 75
"""

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ap import ap50, decode, to_boxes
from data import Crops, H, W, hold_out, pack, scenes
from model import CLASSES, Thermal


NIGHTS = 2  # simulated frames in a batch


def orthogonal(g):
    """Nearest half-orthogonal matrix of a gradient (quintic Newton-Schulz)."""
    x = g.flatten(1).float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    x = x.T if tall else x
    return x.reshape(g.shape) * 0.2 * max(x.shape) ** 0.5


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, for the inner convolutions (Jordan 2024)."""

    def __init__(self, params, lr, momentum=0.95, decay=0.05):
        super().__init__(params, dict(lr=lr, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(group["momentum"]).add_(p.grad)
                step = orthogonal(p.grad.add(m, alpha=group["momentum"]))
                p.mul_(1 - group["lr"] * group["decay"]).add_(step, alpha=-group["lr"])


def right(overlap):
    """What a score should be for a box of this overlap (IoU) with the truth: 1 from 0.65 on."""
    return ((overlap - 0.25) / 0.4).clamp(0.05, 1)


def loss_of(out, heat, mask, weight, box):
    """(heat loss of each sample, box loss of the batch).

    Where an object is, the score learns how good the box is that stands there
    (quality focal loss, Li 2020), so that the better one of two is taken.
    """
    n = len(CLASSES)
    logit = out[:, :n]
    p = logit.sigmoid()
    top = (heat >= 0.8).float()
    target, box_loss = torch.ones_like(mask), out.sum() * 0
    at = weight > 0
    if at.any():
        a = to_boxes(out[:, n:]).permute(0, 2, 3, 1)[at]
        b = box.permute(0, 2, 3, 1)[at]
        area = lambda r: (r[:, 2] - r[:, 0]) * (r[:, 3] - r[:, 1])
        both = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(0).prod(1)
        hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
        union = area(a) + area(b) - both
        giou = both / union - (hull - union) / hull
        w = weight[at]
        box_loss = ((1 - giou) * w).sum() / w.sum()
        target[at] = right((both / union).detach())
    target = target[:, None]
    log_p, log_q = F.logsigmoid(logit), F.logsigmoid(-logit)
    hot = -top * (target - p).square() * (target * log_p + (1 - target) * log_q)
    cold = -(1 - top) * (1 - heat).square().square() * p.square() * log_q
    each = ((hot + cold) * mask[:, None]).sum((1, 2, 3))
    return each, box_loss


def normalise(frame):
    x = torch.from_numpy(frame.astype(np.float32))[None, None]
    return (x - x.mean()) / x.std(unbiased=False).clamp(min=1e-3)


@torch.no_grad()
def measure(net, frames, boxes, picked):
    net.eval()
    found = [decode(net(normalise(frames[i]))[0].float()) for i in picked]
    return ap50(found, [boxes[i] for i in picked])


def main():
    arg = argparse.ArgumentParser()
    arg.add_argument("--data", type=Path, required=True)
    arg.add_argument("--cache", type=Path, required=True)
    arg.add_argument("--out", type=Path, required=True)
    arg.add_argument("--minutes", type=float, default=75)
    arg.add_argument("--batch", type=int, default=12)
    arg.add_argument("--size", type=int, default=320)
    arg.add_argument("--lr", type=float, default=3e-3)
    arg.add_argument("--seed", type=int, default=1, help="of the kept scenes too: one for all runs")
    arg.add_argument("--eval-minutes", type=float, default=10)
    arg.add_argument("--hold-out", type=float, default=0.11)
    arg.add_argument("--nights", type=Path, help="simulated frames (nights.py), two of each batch")
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
    (arg.out / "held_out.txt").write_text("".join(f"train/{keys[i][1]}\n" for i in held))
    print(f"{len(train)} to train on, {len(held)} held out of {len(set(scene[i] for i in held))}"
          f" scenes, {len(val)} validation; {len(set(scene))} scenes", flush=True)

    net = Thermal().to(memory_format=torch.channels_last)
    mean = copy.deepcopy(net)
    inner, outer = [], []
    for name, p in net.named_parameters():
        deep = p.ndim == 4 and not name.startswith(("stem", "head"))
        (inner if deep else outer).append(p)
    opts = [Muon(inner, arg.lr), torch.optim.AdamW(outer, arg.lr, weight_decay=0.0)]
    crops = Crops(frames, boxes, train, arg.size, arg.seed)
    drawn = None
    if arg.nights:
        _, more, more_boxes = pack(arg.nights, arg.cache, "nights")
        drawn = Crops(more, more_boxes, range(len(more)), arg.size, arg.seed + 1)
    step, spent, state = 0, 0.0, arg.out / "last.pt"
    if state.exists():
        saved = torch.load(state, weights_only=False)
        net.load_state_dict(saved["net"])
        mean.load_state_dict(saved["mean"])
        for o, s in zip(opts, saved["opts"]):
            o.load_state_dict(s)
        step, spent, crops.hard, crops.rng = (saved[k] for k in ("step", "spent", "hard", "rng"))
        print(f"going on at step {step}, {spent / 60:.1f} min", flush=True)
    elif arg.start:
        saved = torch.load(arg.start, weights_only=False)
        net.load_state_dict(saved["mean"])
        mean.load_state_dict(saved["mean"])

    def save():
        torch.save(dict(net=net.state_dict(), mean=mean.state_dict(),
                        opts=[o.state_dict() for o in opts], step=step, spent=spent,
                        hard=crops.hard, rng=crops.rng), str(state) + ".new")
        Path(str(state) + ".new").rename(state)

    budget, seen, shown, begun = arg.minutes * 60, [], spent, time.time() - spent
    evaluated, saved_at = spent, spent
    while spent < budget:
        part = spent / budget
        warm = min(1.0, (step + 1) / 200)
        rate = arg.lr * warm * max(0.5 * (1 + math.cos(math.pi * part)), 0.004)
        for o in opts:
            for g in o.param_groups:
                g["lr"] = rate
        net.train()
        t0 = time.time()
        slots, x, (heat, mask, weight, box) = crops.batch(arg.batch - NIGHTS if drawn else arg.batch)
        if drawn:
            dark, y, parts = drawn.batch(NIGHTS)
            x = torch.cat((x, y))
            heat, mask, weight, box = map(torch.cat, zip((heat, mask, weight, box), parts))
        loading = time.time() - t0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(x.contiguous(memory_format=torch.channels_last))
        each, box_loss = loss_of(out.float(), heat, mask, weight, box)
        count = (heat >= 0.8).flatten(1).sum(1)
        heat_loss = each.sum() / count.sum().clamp(min=1)
        loss = heat_loss + 3 * box_loss
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
        wrong = (each.detach() / (1 + count).sqrt()).numpy()
        crops.learn(slots, wrong[: len(slots)])
        if drawn:
            drawn.learn(dark, wrong[len(slots) :])
        spent = time.time() - begun
        seen.append((heat_loss.item(), box_loss.item(), loading))
        if step % 100 == 0 or step == 10:
            h, b, l = np.mean(seen, 0)
            per = (spent - shown) / len(seen)
            print(f"{spent / 60:6.1f} min step {step:6d} heat {h:.3f} box {b:.3f} {1 / per:.2f} steps/s"
                  f" (loading {l / per:.0%}) lr {rate:.2e} ETA {(budget - spent) / 60:.0f} min", flush=True)
            seen, shown = [], spent
        if spent - saved_at > 120:
            save()
            saved_at = spent
        if spent - evaluated > arg.eval_minutes * 60 and spent < budget * 0.98:
            for name, which in (("held out", held), ("val", val)):
                got = measure(mean, frames, boxes, which[::2])
                print(f"       {name}: " + " ".join(f"{k} {v:.3f}" for k, v in got.items() if v is not None), flush=True)
            spent = time.time() - begun
            evaluated = shown = spent
    save()
    for name, which in (("held out", held), ("val", val)):
        got = measure(mean, frames, boxes, which)
        print(f"end    {name}: " + " ".join(f"{k} {v:.3f}" for k, v in got.items() if v is not None), flush=True)


if __name__ == "__main__":
    main()
