"""The network: one grey channel in, class logits and box distances at stride 4 out.

Most of the work is done at strides 8 and 16, where a person is two cells high
and the context that tells him from a lamp is in reach; two thin layers at stride 4
keep people apart who stand together and find their edges.
"""

import torch
from torch import nn

CLASSES = ("Person", "Car", "Bicycle", "OtherVehicle")
STRIDE = 4
BOX_UNIT = 8.0  # pixels that a box output of exp(0) stands for


class Conv(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inp, out, k=3, s=1, pad=None):
        pad = k // 2 if pad is None else pad
        super().__init__(
            nn.Conv2d(inp, out, k, s, pad, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
        )


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = Conv(width, width)

    def forward(self, x):
        return x + self.conv(x)


class Partial(nn.Module):
    """A chain of residual convolutions over half the channels, all kept and mixed."""

    def __init__(self, width, half, depth):
        super().__init__()
        self.half = half
        self.enter = Conv(width, 2 * half, 1)
        self.chain = nn.ModuleList(Residual(half) for _ in range(depth))
        self.leave = Conv((2 + depth) * half, width, 1)

    def forward(self, x):
        parts = list(self.enter(x).split(self.half, 1))
        for link in self.chain:
            parts.append(link(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Thermal(nn.Module):
    def __init__(self, c4=32, c8=32, c16=96, c32=128):
        super().__init__()
        self.stem = Conv(1, c4, 6, 4, 1)
        self.down8 = Conv(c4, c8, 3, 2)
        self.enc8 = nn.Sequential(Residual(c8), Residual(c8))
        self.down16 = Conv(c8, c16, 3, 2)
        self.enc16 = Partial(c16, c16 // 2, 4)
        self.down32 = Conv(c16, c32, 3, 2)
        self.enc32 = Partial(c32, c32 // 2, 4)
        self.lat16 = Conv(c32, c16, 1)
        self.dec16 = Partial(c16, c16 // 2, 2)
        self.lat8 = Conv(c16, c8, 1)
        self.dec8 = Residual(c8)
        self.up4 = nn.Conv2d(c8, 64, 1)
        self.lat4 = nn.Conv2d(c4, 16, 1)
        self.dec4 = Conv(16, 16)
        self.fine4 = Residual(32)
        self.head = nn.Conv2d(32, len(CLASSES) + 4, 1)
        self.shuffle = nn.PixelShuffle(2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        nn.init.normal_(self.head.weight, std=0.01)
        with torch.no_grad():
            self.head.bias[: len(CLASSES)] = -5.0  # a cell in 150 at the start

    def forward(self, x):
        """[N, 1, H, W] normalised -> [N, 4 classes + 4 distances, H/4, W/4]."""
        s4 = self.stem(x)
        s8 = self.enc8(self.down8(s4))
        s16 = self.enc16(self.down16(s8))
        s32 = self.enc32(self.down32(s16))
        s16 = self.dec16(s16 + self.up(self.lat16(s32)))
        s8 = self.dec8(s8 + self.up(self.lat8(s16)))
        fine = torch.relu(self.shuffle(self.up4(s8)) + self.lat4(s4))
        fine = torch.cat((fine, self.dec4(fine)), 1)
        return self.head(self.fine4(fine))
