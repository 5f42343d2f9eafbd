"""What training both networks shares: arguments, splits, the schedule by time, averaged weights, checkpoints."""

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch

from data import hold_out, pack, scenes

CALM = 0.75  # part of the time from which pictures are taken nearly as they are


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


def arguments(doc, batch):
    arg = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data", type=Path, required=True)
    arg.add_argument("--cache", type=Path, required=True)
    arg.add_argument("--out", type=Path, required=True)
    arg.add_argument("--minutes", type=float, default=75)
    arg.add_argument("--batch", type=int, default=batch)
    arg.add_argument("--lr", type=float, default=3e-3)
    arg.add_argument("--seed", type=int, default=1, help="of the kept scenes too: one for all runs")
    arg.add_argument("--eval-minutes", type=float, default=10)
    arg.add_argument("--hold-out", type=float, default=0.11, help="share of the training frames, whole scenes; 0: none")
    arg.add_argument("--nights", type=Path, help="simulated frames (nights.py) beside the real ones")
    arg.add_argument("--from", dest="start", type=Path, help="weights to go on from, new schedule")
    return arg


class Split:
    """Frames, boxes, and which of them are trained on, kept from it, or the set's own validation."""

    def __init__(self, arg):
        keys, self.frames, self.boxes = pack(arg.data, arg.cache)
        scene = scenes(keys, self.frames, arg.cache)
        self.held = hold_out(keys, scene, arg.hold_out, arg.seed)
        self.val = [i for i, (s, _) in enumerate(keys) if s == "val"]
        self.train = sorted({i for i, (s, _) in enumerate(keys) if s == "train"} - set(self.held))
        arg.out.mkdir(parents=True, exist_ok=True)
        (arg.out / "held_out.txt").write_text("".join(f"train/{keys[i][1]}\n" for i in self.held))
        print(f"{len(self.train)} to train on, {len(self.held)} held out of {len({scene[i] for i in self.held})}"
              f" scenes, {len(self.val)} validation; {len(set(scene))} scenes", flush=True)


class Loop:
    """A network that `make` makes, in training until its time is up.

    `deep` says of a weight's name and value whether its steps are made orthogonal; `keep` and `take` hand over
    what else a checkpoint holds.
    """

    def __init__(self, make, deep, arg, name, keep=dict, take=lambda saved: None):
        torch.manual_seed(arg.seed)
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        self.net = make().to(memory_format=torch.channels_last)
        self.mean = copy.deepcopy(self.net)
        self.arg, self.keep, self.state = arg, keep, arg.out / name
        inner, self.outer = [], []
        for key, p in self.net.named_parameters():
            (inner if deep(key, p) else self.outer).append(p)
        self.opts = [Muon(inner, arg.lr), torch.optim.AdamW(self.outer, arg.lr, weight_decay=0.0)]
        self.step, self.spent, self.seen = 0, 0.0, []
        if self.state.exists():
            saved = torch.load(self.state, weights_only=False)
            self.net.load_state_dict(saved["net"])
            self.mean.load_state_dict(saved["mean"])
            for o, s in zip(self.opts, saved["opts"]):
                o.load_state_dict(s)
            self.step, self.spent = saved["step"], saved["spent"]
            take(saved)
            print(f"going on at step {self.step}, {self.spent / 60:.1f} min", flush=True)
        elif arg.start:
            saved = torch.load(arg.start, weights_only=False)
            self.net.load_state_dict(saved["mean"])
            self.mean.load_state_dict(saved["mean"])

    def save(self):
        new = Path(f"{self.state}.new")
        torch.save(dict(net=self.net.state_dict(), mean=self.mean.state_dict(), step=self.step, spent=self.spent,
                        opts=[o.state_dict() for o in self.opts], **self.keep()), new)
        new.rename(self.state)

    def run(self, batch, loss_of, measure, every):
        """`batch(calm)` makes a batch; `loss_of(batch)` gives (loss, {name: part of it}); `measure(net)` prints."""
        budget, begun = self.arg.minutes * 60, time.time() - self.spent
        evaluated = saved = shown = self.spent
        while self.spent < budget:
            part = self.spent / budget
            warm = min(1.0, (self.step + 1) / 200)
            rate = self.arg.lr * warm * max(0.5 * (1 + math.cos(math.pi * part)), 0.004)
            for o in self.opts:
                for g in o.param_groups:
                    g["lr"] = rate
            self.net.train()
            before = time.time()
            made = batch(part > CALM)
            loading = time.time() - before
            loss, parts = loss_of(made)
            self.learn(loss)
            self.spent = time.time() - begun
            self.seen.append((*parts.values(), loading))
            if self.step % every == 0 or self.step == 10:
                *means, load = np.mean(self.seen, 0)
                per = (self.spent - shown) / len(self.seen)
                told = " ".join(f"{k} {v:.4f}" for k, v in zip(parts, means))
                print(f"{self.spent / 60:6.1f} min step {self.step:6d} {told} {1 / per:.2f} steps/s (loading"
                      f" {load / per:.0%}) lr {rate:.2e} ETA {(budget - self.spent) / 60:.0f} min", flush=True)
                self.seen, shown = [], self.spent
            if self.spent - saved > 120:
                self.save()
                saved = self.spent
            if self.spent - evaluated > self.arg.eval_minutes * 60 and self.spent < budget * 0.98:
                measure(self.mean)
                self.spent = time.time() - begun
                evaluated = shown = self.spent
        self.save()
        measure(self.mean)

    def learn(self, loss):
        for o in self.opts:
            o.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.outer, 5.0)
        for o in self.opts:
            o.step()
        self.step += 1
        decay = min(0.9995, 1 - 10 / (self.step + 10)) if self.step > 50 else 0
        with torch.no_grad():
            for a, b in zip(self.mean.state_dict().values(), self.net.state_dict().values()):
                a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)
