"""Trains the thermal detector from scratch, within a time budget, resumably.

    OMP_NUM_THREADS=1 taskset -c 0 python train.py --data DIR --cache DIR --out DIR --minutes 75
"""

import numpy as np
import torch
import torch.nn.functional as F

from ap import ap50, decode, to_boxes
from data import Crops, pack
from loop import Loop, Split, arguments
from model import CLASSES, Thermal


NIGHTS = 2  # simulated frames in a batch


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
    arg = arguments(__doc__, 12)
    arg.add_argument("--size", type=int, default=320, help="of a cutting, pixels")
    arg = arg.parse_args()
    split = Split(arg)
    crops, drawn = Crops(split.frames, split.boxes, split.train, arg.size, arg.seed), None
    if arg.nights:
        _, more, more_boxes = pack(arg.nights, arg.cache, "nights")
        drawn = Crops(more, more_boxes, range(len(more)), arg.size, arg.seed + 1)

    def take(saved):
        crops.hard, crops.rng = saved["hard"], saved["rng"]

    def batch(calm):
        crops.calm = calm
        made = crops.batch(arg.batch - NIGHTS if drawn else arg.batch)
        return made, drawn.batch(NIGHTS) if drawn else None

    def losses(made):
        (slots, x, parts), more = made
        if more:
            dark, y, others = more
            x, parts = torch.cat((x, y)), list(map(torch.cat, zip(parts, others)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = loop.net(x.contiguous(memory_format=torch.channels_last))
        each, box_loss = loss_of(out.float(), *parts)
        count = (parts[0] >= 0.8).flatten(1).sum(1)
        heat_loss = each.sum() / count.sum().clamp(min=1)
        wrong = (each.detach() / (1 + count).sqrt()).numpy()
        crops.learn(slots, wrong[: len(slots)])
        if more:
            drawn.learn(dark, wrong[len(slots) :])
        return heat_loss + 3 * box_loss, dict(heat=heat_loss.item(), box=box_loss.item())

    def check(net):
        for name, picked in (("held out", split.held), ("val", split.val)):
            if picked:
                got = measure(net, split.frames, split.boxes, picked)
                print(f"       {name}: " + " ".join(f"{k} {v:.3f}" for k, v in got.items() if v is not None), flush=True)

    deep = lambda name, p: p.ndim == 4 and not name.startswith(("stem", "head"))
    loop = Loop(Thermal, deep, arg, "last.pt", lambda: dict(hard=crops.hard, rng=crops.rng), take)
    loop.run(batch, losses, check, 100)


if __name__ == "__main__":
    main()
