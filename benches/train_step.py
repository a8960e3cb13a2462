#!/usr/bin/env python3
"""Milliseconds a training step of yolov8n takes here and in PyTorch, in turn, on the CPU.

    train_step.py --model yolov8n.onnx [--imgsz 320] [--batch 8] [--threads 2] [--rounds 3]

Needs torch and ultralytics (for the network alone). Both sides: forward, backward and an optimizer's step, a squared loss on the
raw outputs, which costs nothing. PyTorch runs channels_last with BatchNormalization in training mode; here it is folded, as it is
trained. Each round is the median of 20 steps after 2; the ratio is that of the medians over rounds.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = """
import json, resource, sys, time
import torch
from ultralytics import YOLO
imgsz, batch, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
torch.manual_seed(0)
model = YOLO("yolov8n.yaml").model.train().to(memory_format=torch.channels_last)
images = torch.rand(batch, 3, imgsz, imgsz).contiguous(memory_format=torch.channels_last)
for parameter in model.parameters():
    parameter.requires_grad_(True)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
def outputs(value):
    if torch.is_tensor(value):
        return [value] if value.requires_grad else []
    values = value.values() if isinstance(value, dict) else value
    return [o for v in values for o in outputs(v)] if isinstance(value, (dict, list, tuple)) else []
times = []
for _ in range(22):
    start = time.perf_counter()
    loss = sum(o.square().mean() for o in outputs(model(images)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    times.append(1e3 * (time.perf_counter() - start))
times = sorted(times[2:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000
print(json.dumps({"median_ms": times[len(times) // 2], "peak_rss_mb": peak}))
"""


def last_line(command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    example = ["cargo", "run", "--release", "-q", "-p", "yoloslim-compress", "--example", "train_step", "--"]
    ours = [*example, str(pathlib.Path(a.model).resolve()), str(a.batch), str(a.threads)]
    peer = [sys.executable, "-c", PEER, str(a.imgsz), str(a.batch), str(a.threads)]
    last_line(ours)  # Builds it.
    rounds = [(last_line(ours), last_line(peer)) for _ in range(a.rounds)]
    for name, side in (("yoloslim", 0), ("PyTorch", 1)):
        for key in ("median_ms", "peak_rss_mb"):
            print(name, key, [round(r[side][key], 1) for r in rounds])
    ratio = [statistics.median(r[side]["median_ms"] for r in rounds) for side in (0, 1)]
    memory = [statistics.median(r[side]["peak_rss_mb"] for r in rounds) for side in (0, 1)]
    print(f"step {ratio[0] / ratio[1]:.2f} of PyTorch's, memory {memory[0] / memory[1]:.2f}")


if __name__ == "__main__":
    main()
