"""HIT-UAV frames packed once, and crops of them with targets.

A frame is normalised by its own mean and deviation, here as in the exported
graph, so that gain and offset of a camera do not matter.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from model import CLASSES, STRIDE

W, H = 640, 512
IGNORE = len(CLASSES)  # DontCare: neither right nor wrong
NAMES = {name: i for i, name in enumerate(CLASSES)} | {"DontCare": IGNORE}


def read_boxes(root):
    """{(split, file): array of (class, x, y, w, h)} for every picture that is there."""
    found = {}
    for split in ("train", "val"):
        for path in sorted(p for p in (root / split).glob("*") if p.suffix in (".jpg", ".png")):
            found[(split, path.name)] = []
    with open(root / "boxes.csv", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["split"], row["file"])
            if key in found:
                found[key].append(
                    [NAMES[row["class"]]] + [float(row[k]) for k in ("x", "y", "w", "h")]
                )
    return {k: np.array(v, np.float32).reshape(-1, 5) for k, v in found.items()}


def pack(root, cache, name="frames"):
    """Decodes every frame once into one file; returns (keys, memory map, boxes)."""
    cache.mkdir(parents=True, exist_ok=True)
    boxes = read_boxes(root)
    keys = sorted(boxes)
    packed = cache / f"{name}.u8"
    if not packed.exists() or packed.stat().st_size != len(keys) * H * W:
        out = np.memmap(packed, np.uint8, "w+", shape=(len(keys), H, W))
        for i, (split, name) in enumerate(keys):
            out[i] = np.asarray(Image.open(root / split / name).convert("L"))
        out.flush()
    frames = np.memmap(packed, np.uint8, "r", shape=(len(keys), H, W))
    return keys, frames, [boxes[k] for k in keys]


def scenes(keys, frames, cache):
    """A scene number for each frame of both splits.

    Two frames share a scene when flight (the name's fields) and number lie
    close together, or when their thumbnails are all but the same.
    """
    stored = cache / "scenes.json"
    if stored.exists():
        known = json.loads(stored.read_text())
        return [known[f"{s}/{n}"] for s, n in keys]
    thumbs = frames.reshape(len(keys), 16, 32, 20, 32).mean((2, 4), dtype=np.float32)
    thumbs = thumbs.reshape(len(keys), -1)
    thumbs -= thumbs.mean(1, keepdims=True)
    thumbs /= np.linalg.norm(thumbs, axis=1, keepdims=True) + 1e-6
    parent = list(range(len(keys)))

    def top(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(a, b):
        parent[top(a)] = top(b)

    flight, number = [], []
    for _, name in keys:
        prefix, last = re.fullmatch(r"(.+)_(\d+)\.jpg", name).groups()
        flight.append(prefix)
        number.append(int(last))
    order = sorted(range(len(keys)), key=lambda i: number[i])
    for a, b in zip(order, order[1:]):
        if flight[a] == flight[b] and number[b] - number[a] <= 12:
            join(a, b)
    alike = thumbs @ thumbs.T
    for a, b in zip(*np.where(np.triu(alike, 1) > 0.93)):
        join(int(a), int(b))
    roots = [top(i) for i in range(len(keys))]
    numbers = {r: n for n, r in enumerate(dict.fromkeys(roots))}
    result = [numbers[r] for r in roots]
    stored.write_text(json.dumps({f"{s}/{n}": r for (s, n), r in zip(keys, result)}))
    return result


def hold_out(keys, scene, share, seed):
    """Training frames whose whole scene is kept from training (about `share` of them)."""
    train = [i for i, (s, _) in enumerate(keys) if s == "train"]
    members = {}
    for i in train:
        members.setdefault(scene[i], []).append(i)
    order = sorted(members)
    np.random.default_rng(seed).shuffle(order)
    held, want = [], share * len(train)
    for s in order:
        # A scene that is a fifth of the set would be the whole held-out part.
        if len(members[s]) <= want / 4 and len(held) + len(members[s]) <= want * 1.05:
            held += members[s]
        if len(held) >= want:
            break
    return sorted(held)


def cells_of(boxes, h, w):
    """Targets for one crop: heat [classes,h,w], mask [h,w], weight [h,w], box [4,h,w].

    Heat is a bell over each object, its top moved onto the nearest cell so that
    each object has a cell (or a few on a border) at 1. `box` holds x0,y0,x1,y1;
    `weight` is how much a cell counts for it: those of one object sum to 1, or a
    bus would teach a hundred times what a person does.
    """
    heat = np.zeros((len(CLASSES), h, w), np.float32)
    mask = np.ones((h, w), np.float32)
    weight = np.zeros((h, w), np.float32)
    box = np.zeros((4, h, w), np.float32)
    owner = np.full((h, w), -1)
    order = np.argsort(-boxes[:, 3] * boxes[:, 4]) if len(boxes) else []
    for n, (k, x, y, bw, bh) in enumerate(boxes[order] if len(boxes) else []):
        x0, y0 = int(max(x / STRIDE, 0)), int(max(y / STRIDE, 0))
        x1 = min(int(np.ceil((x + bw) / STRIDE)), w)
        y1 = min(int(np.ceil((y + bh) / STRIDE)), h)
        if x1 <= x0 or y1 <= y0:
            continue
        if k == IGNORE:
            mask[y0:y1, x0:x1] = 0
            continue
        sx = min(max(0.15 * bw / STRIDE, 0.6), 4.0)
        sy = min(max(0.15 * bh / STRIDE, 0.6), 4.0)
        cx, cy = (x + bw / 2) / STRIDE - 0.5, (y + bh / 2) / STRIDE - 0.5
        gx = np.exp(-((np.arange(x0, x1) - cx) ** 2) / (2 * sx * sx))
        gy = np.exp(-((np.arange(y0, y1) - cy) ** 2) / (2 * sy * sy))
        g = np.outer(gy / gy.max(), gx / gx.max()).astype(np.float32)
        part = heat[int(k), y0:y1, x0:x1]
        np.maximum(part, g, out=part)
        here = g > np.maximum(weight[y0:y1, x0:x1], 0.3)
        weight[y0:y1, x0:x1][here] = g[here]
        owner[y0:y1, x0:x1][here] = n
        box[:, y0:y1, x0:x1][:, here] = np.array([x, y, x + bw, y + bh])[:, None]
    mine = owner >= 0
    whole = np.bincount(owner[mine], weight[mine], minlength=max(len(boxes), 1))
    weight[mine] /= whole[owner[mine]]
    return heat, mask, weight, box


class Crops:
    """Random augmented crops of the given frames; deterministic by seed."""

    WANT = np.array([2.0, 1.0, 1.5, 5.0, 0.2])  # how often a crop is centred on a class

    def __init__(self, frames, boxes, picked, size, seed):
        self.frames, self.boxes, self.size = frames, boxes, size
        self.picked = np.array(picked)
        self.rng = np.random.default_rng(seed)
        self.hard = np.ones(len(picked))  # running loss of each frame
        self.calm = False  # near the end: as frames really are
        sub = [frames[i, ::2, ::2].astype(np.float32) for i in picked]
        self.mean = np.array([s.mean() for s in sub])
        self.dev = np.array([s.std() for s in sub])

    def learn(self, slots, losses):
        """Frames that are still wrong are drawn more often."""
        self.hard[slots] = 0.6 * self.hard[slots] + 0.4 * losses

    def one(self, slot):
        rng, size = self.rng, self.size
        i = self.picked[slot]
        frame, boxes = self.frames[i], self.boxes[i]
        zoom = float(np.exp(rng.normal(0.0, 0.08) if self.calm else rng.normal(0.05, 0.25)))
        zoom = min(max(zoom, size / H), 1.7)
        side = int(round(size / zoom))
        x0, y0 = rng.integers(0, W - side + 1), rng.integers(0, H - side + 1)
        if len(boxes) and rng.random() < 0.7:
            p = self.WANT[boxes[:, 0].astype(int)]
            b = boxes[rng.choice(len(boxes), p=p / p.sum())]
            x0 = int(b[1] + b[3] / 2 - side * rng.uniform(0.05, 0.95))
            y0 = int(b[2] + b[4] / 2 - side * rng.uniform(0.05, 0.95))
            x0, y0 = min(max(x0, 0), W - side), min(max(y0, 0), H - side)
        crop = torch.from_numpy(np.ascontiguousarray(frame[y0 : y0 + side, x0 : x0 + side]))
        crop = crop.float()[None, None]
        scale = size / side
        if side != size:
            crop = F.interpolate(
                crop, (size, size), mode="bilinear", align_corners=False, antialias=side > size
            )
        crop = ((crop[0, 0] - float(self.mean[slot])) / max(float(self.dev[slot]), 1e-3)).numpy()

        b = boxes.copy()
        b[:, 1] = (b[:, 1] - x0) * scale
        b[:, 2] = (b[:, 2] - y0) * scale
        b[:, 3:] *= scale
        lo = np.clip(b[:, 1:3], 0, size)
        hi = np.clip(b[:, 1:3] + b[:, 3:5], 0, size)
        seen = (hi - lo).prod(1) / np.maximum(b[:, 3] * b[:, 4], 1e-6)
        b[:, 1:3], b[:, 3:5] = lo, hi - lo
        b[(seen < 0.4), 0] = IGNORE
        b = b[seen > 0]

        if rng.random() < 0.5:
            crop = crop[:, ::-1]
            b[:, 1] = size - b[:, 1] - b[:, 3]
        if rng.random() < 0.1 and not self.calm:
            crop = crop[::-1]
            b[:, 2] = size - b[:, 2] - b[:, 4]
        if rng.random() < 0.1 and not self.calm:
            crop = crop.T
            b = b[:, [0, 2, 1, 4, 3]]
        gain = np.exp(rng.normal(0, 0.15))
        crop = crop * np.float32(gain) + np.float32(rng.normal(0, 0.15))
        if rng.random() < 0.3:  # a bend of the tone curve
            crop = crop + np.float32(rng.normal(0, 0.06)) * crop * np.abs(crop)
        if rng.random() < 0.3:
            noise = rng.standard_normal((size, size), np.float32)
            crop = crop + np.float32(rng.uniform(0, 0.15)) * noise
        return np.ascontiguousarray(crop, np.float32), b

    def batch(self, count):
        p = 0.35 + np.minimum(self.hard / max(self.hard.mean(), 1e-6), 4.0)
        slots = self.rng.choice(len(p), count, replace=False, p=p / p.sum())
        made = [self.one(s) for s in slots]
        x = torch.from_numpy(np.stack([m[0] for m in made])[:, None])
        cells = self.size // STRIDE
        t = [cells_of(m[1], cells, cells) for m in made]
        return slots, x, [torch.from_numpy(np.stack(part)) for part in zip(*t)]
