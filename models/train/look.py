"""The second look: what the detector proposes is cut out of the frame, enlarged, and judged once more.

A detector spends most of its work on ground where nothing is. Here a crop of each proposal gets
three times as much on each value (26 MMAC in all), near (2.5 times the object's length) and wide (7.5 times).
"""

import torch
from torch import nn

from model import CLASSES, Conv, Residual

SIDE = 40  # samples along a crop
NEAR, WIDE = 2.5, 7.5  # side of a crop, in lengths of the proposal's longer side
LEAST = 20.0  # pixels; shorter proposals get the near crop of this one
UNIT = 64.0  # pixels of a near crop that the logarithm of its side is zero for
HALF = 0.5  # of a move that is made: the mean of both looks is nearer than either


class Look(nn.Module):
    def __init__(self):
        super().__init__()
        self.near = nn.Sequential(
            Conv(1, 16), Conv(16, 32, 3, 2), Residual(32), Residual(32), Conv(32, 48, 3, 2)
        )
        self.wide = nn.Sequential(Conv(1, 16, 3, 2), Conv(16, 32, 3, 2), Residual(32))
        self.both = nn.Sequential(
            Conv(80, 64, 1), Residual(64), Residual(64), Conv(64, 96, 3, 2), Residual(96), Residual(96)
        )
        self.squeeze = Conv(96, 64, 1)
        self.size = nn.Linear(1, 128, bias=False)
        self.flat = nn.Linear(64 * 25, 128)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(128, len(CLASSES) + 4)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, near, wide, size):
        """[N,1,40,40] twice, normalised; [N,1] log(near side / 64 px) ->
        [N, 4 logits + 4 moves]: of the middle, in near sides; of log width and log height."""
        x = self.both(torch.cat((self.near(near), self.wide(wide)), 1))
        x = self.flat(self.squeeze(x).flatten(1)) + self.size(size)
        return self.head(self.drop(torch.relu(x)))


def side_of(box):
    """[N,4] x0,y0,x1,y1 -> side of the near crop in pixels."""
    return NEAR * (box[:, 2:] - box[:, :2]).amax(1).clamp(min=LEAST)


def moved(box, move):
    """Boxes after the moves that the look asks for."""
    side = side_of(box)[:, None]
    middle = (box[:, :2] + box[:, 2:]) / 2 + move[:, :2] * side
    half = (box[:, 2:] - box[:, :2]) / 2 * move[:, 2:].clamp(-1.5, 1.5).exp()
    return torch.cat((middle - half, middle + half), 1)
