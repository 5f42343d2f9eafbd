"""The mean of several checkpoints' weights: better than each, where all went on from the same one (Wortsman et al.,
"Model soups", 2022).

    python average.py one/look.pt two/look.pt --to look.pt
"""

import argparse
from pathlib import Path

import torch

if __name__ == "__main__":
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("checkpoints", type=Path, nargs="+")
    arg.add_argument("--to", type=Path, required=True)
    arg = arg.parse_args()
    saved = [torch.load(path, weights_only=False) for path in arg.checkpoints]
    mean = {key: torch.stack([s["mean"][key].double() for s in saved]).mean(0).to(value.dtype)
            for key, value in saved[0]["mean"].items()}
    torch.save(dict(net=mean, mean=mean, step=sum(s["step"] for s in saved), spent=sum(s["spent"] for s in saved)), arg.to)
    print(f"{arg.to}: the mean of {len(saved)}")
