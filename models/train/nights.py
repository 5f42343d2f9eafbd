"""Simulated nights as further training frames: what a town's streets do not hold.

    python nights.py --vigil target/release/vigil --to nights --flights 180

HIT-UAV was flown over a town: nobody lies on the ground in it, and there is no
stone that still holds the day's sun, no cow, no deer. `vigil sim` renders those
with the truth beside them. A person or vehicle is an object of its class,
mostly hidden ones are neither right nor wrong, and all else is background.
Seeds start at 10000: the flights of tests, demonstration and benches are others.
"""

import argparse
import csv
import json
import subprocess
from pathlib import Path

import numpy as np

FIRST_SEED = 10_000
LEAST_SEEN = 0.35  # share of an object in sight, below which it is DontCare
LEAST_PIXELS = 4.0  # longer side of a box, below which it is DontCare


def plan(seed):
    """A night's plan as JSON: crowded, over all heights, pitches and weathers."""
    rng = np.random.default_rng(seed)
    return dict(
        seed=int(seed),
        seconds=48.0,
        scene=dict(
            side_m=140.0, trees_per_ha=float(rng.uniform(5, 25)), stones_per_ha=float(rng.uniform(10, 60)),
            vehicles=3, animals=6, signs=4, people=9, hills_m=float(rng.uniform(0, 8)),
        ),
        weather=dict(
            air_c=float(rng.uniform(-5, 22)), sun_k=float(rng.uniform(1, 14)),
            rain_mm_h=float(rng.choice([0, 0, 5, 20])),
        ),
        camera=dict(
            fps=0.5, netd_mk=float(rng.uniform(30, 90)), blur_px=float(rng.uniform(0.5, 1.2)),
            fov_deg=float(rng.uniform(24, 48)),
        ),
        path=dict(
            height_m=float(rng.uniform(35, 110)), pitch_deg=float(rng.uniform(-90, -40)), speed_m_s=6.0,
        ),
    )


def main():
    arg = argparse.ArgumentParser()
    arg.add_argument("--vigil", type=Path, required=True)
    arg.add_argument("--to", type=Path, required=True)
    arg.add_argument("--flights", type=int, default=180)
    arg.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first flight")
    arg = arg.parse_args()
    (arg.to / "train").mkdir(parents=True, exist_ok=True)
    with open(arg.to / "boxes.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["split", "file", "class", "x", "y", "w", "h"])
        for seed in range(arg.first, arg.first + arg.flights):
            plan_file, truth = arg.to / "plan.json", arg.to / "truth.jsonl"
            folder = arg.to / "stills"
            plan_file.write_text(json.dumps(plan(seed)))
            subprocess.run(
                [arg.vigil, "sim", "--plan", plan_file, "--stills", folder, "--stills-every", "2",
                 "--truth", truth], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            frames = [json.loads(line) for line in truth.read_text().splitlines()]
            frames = [f for f in frames if f["type"] == "frame" and f["picture"] != "none"]
            stills = sorted(folder.glob("*.png"))
            assert len(stills) == len(frames), f"{len(stills)} stills of {len(frames)} frames"
            for n, (still, frame) in enumerate(zip(stills, frames)):
                name = f"night{seed}_{n}.png"
                still.rename(arg.to / "train" / name)
                for seen in frame["objects"]:
                    kind = {"person": "Person", "vehicle": "Car"}.get(seen["class"])
                    if kind is None:
                        continue
                    if seen["visible"] < LEAST_SEEN or max(seen["box"][2:]) < LEAST_PIXELS:
                        kind = "DontCare"
                    out.writerow(["train", name, kind, *(round(v, 2) for v in seen["box"])])
            print(f"{seed}: {len(stills)} frames", flush=True)


if __name__ == "__main__":
    main()
