#!/usr/bin/env python3
"""What more training images buy: a detector is pruned, recovered on few or many images, quantized, and judged on the val split.

    recovery_curve.py --model yolov5n.onnx --data data.yaml --macs 0.2 0.3 --images 30 120 337 --steps 1000 [--window 320]

The data set's val split judges each result and chooses nothing. Pruned once for each share, on as many training images as the
largest number but at most 237; `tune` holds a share of the images out, and keeps the best state by these. One line of JSON a row:
map_50_95 of the pruned, the recovered and the INT8 model on val, the shares that they keep, and the curve over the steps on the
held-out images (step, map_50_95).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Tool:
    """The program, whose verbs write their results as JSON into a folder."""

    def __init__(self, program, data, folder):
        self.program, self.data, self.folder = program, data, pathlib.Path(folder)

    def run(self, verb, model, *options):
        result = self.folder / "result.json"
        command = [self.program, verb, model, "--data", self.data, "--json", result, *options]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
        return json.loads(result.read_text())

    def map_50_95(self, model):
        return self.run("val", model)["map_50_95"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--macs", type=float, nargs="+", required=True)
    parser.add_argument("--images", type=int, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--window", type=int)
    parser.add_argument("--yoloslim", default=str(ROOT / "target/release/yoloslim"))
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tool = Tool(a.yoloslim, a.data, folder)
        pruned, recovered, int8 = (tool.folder / f"{name}.onnx" for name in ("pruned", "recovered", "int8"))
        before = tool.map_50_95(a.model)
        for macs in a.macs:
            finer = ["--round-to", 2, "--shallow-ratio", 0.5, "--deep-ratio", 0.5]
            tool.run("prune", a.model, "--macs", macs, "-n", min(237, max(a.images)), *finer, "-o", pruned)
            alone = tool.map_50_95(pruned)
            for images in a.images:
                start = time.time()
                window = ["--window", a.window] if a.window else []
                steps = ["--steps", a.steps, "-n", images]
                tuned = tool.run("tune", pruned, "--teacher", a.model, "-o", recovered, *steps, *window)
                tool.run("quantize", recovered, "-o", int8)
                minutes = (time.time() - start) / 60
                found = {"pruned": alone, "recovered": tool.map_50_95(recovered), "int8": tool.map_50_95(int8)}
                row = {"macs": macs, "images": images, "steps": a.steps, "best_step": tuned["best"]["step"]}
                row |= {name: round(value, 4) for name, value in found.items()}
                row |= {f"{name}_ratio": round(value / before, 3) for name, value in found.items()}
                curve = [(p["step"], p["map_50_95"]) for p in tuned["curve"] if p.get("map_50_95") is not None]
                row |= {"minutes": round(minutes, 1), "curve": [(s, round(v, 3)) for s, v in curve]}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
