"""Decodes the targets of a training batch back to boxes and draws them: look at it."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data import Crops, pack
from model import CLASSES

keys, frames, boxes = pack(Path(sys.argv[1]), Path(sys.argv[2]))
crops = Crops(frames, boxes, range(0, len(keys), 3), 320, 7)
_, x, (heat, mask, weight, box) = crops.batch(12)
sheet = Image.new("RGB", (4 * 320, 3 * 320))
for i in range(12):
    grey = np.clip(x[i, 0].numpy() * 45 + 110, 0, 255).astype(np.uint8)
    rgb = np.stack([grey] * 3, 2)
    heated = heat[i].numpy().max(0).repeat(4, 0).repeat(4, 1)
    rgb[..., 0] = np.maximum(rgb[..., 0], (heated * 255).astype(np.uint8))
    rgb[mask[i].numpy().repeat(4, 0).repeat(4, 1) == 0] = (0, 0, 120)
    tile = Image.fromarray(rgb)
    pen = ImageDraw.Draw(tile)
    for k, colour in zip(range(len(CLASSES)), ("lime", "cyan", "yellow", "magenta")):
        for r, c in np.argwhere(heat[i, k].numpy() >= 0.8):
            pen.rectangle(box[i, :, r, c].tolist(), outline=colour)
    sheet.paste(tile, (i % 4 * 320, i // 4 * 320))
sheet.save(sys.argv[3])
