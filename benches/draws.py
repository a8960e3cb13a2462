#!/usr/bin/env python3
"""Accuracy of pruned and INT8 models over several draws of the calibration images.

One draw says little: the same command keeps several points more or less by the choice of its calibration images. So
every figure is measured over draws, on the val split and on labelled training images that the draw neither calibrated
on nor used to choose.

    benches/draws.py --yoloslim target/release/yoloslim --assets ASSETS [--only yolov5n_coco] [--draws 3] [--json FILE]

prints one Markdown row a model and command: mean and range of map_50_95 over that of the float model, on both sets.
Needs nothing but Python's standard library; ASSETS is the folder that tests look for beside the checkout.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CALIBRATION_IMAGES = 100


@dataclass(frozen=True)
class Detector:
    """A trained model, the training images that calibrate it, and other labelled images that nothing was chosen on."""

    model: str
    data: str
    others: str | None = None
    prune: tuple[str, ...] = ()


DETECTORS = {
    "yolov5n_coco": Detector("yolov5n_coco_fused_op17.onnx", "coco", "coco_more", ("0.1",)),
    "yolov5n_coco_bn": Detector("yolov5n_coco_bn_op17.onnx", "coco", "coco_more", ("0.1",)),
    "yolov8n_deeppcb": Detector("yolov8n_deeppcb_320_fused_op17.onnx", "deeppcb", None, ("0.1", "0.2", "0.3")),
    "yolox_nano_coco": Detector("yolox_nano_coco_416.onnx", "coco", "coco_more"),
    "yolo26n_deeppcb": Detector("yolo26n_deeppcb_320_op17.onnx", "deeppcb"),
}
QUANTIZE = [
    (calibrator, target) for calibrator in ("percentile", "auto") for target in ("builtin", "onnxruntime")
]


def images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".png"))


def names(data: Path) -> str:
    """The class names of a data.yaml, as it states them."""
    text = data.read_text()
    return text[text.index("names:") :]


class Draw:
    """Data files of one draw: what calibrates, and the two sets that judge."""

    def __init__(self, assets: Path, detector: Detector, seed: int, folder: Path):
        root = assets / detector.data
        train = images(root / "images" / "train")
        drawn = sorted(random.Random(seed).sample(train, min(CALIBRATION_IMAGES, len(train))))
        rest = [p for p in train if p not in set(drawn)]
        if detector.others:
            rest += images(assets / detector.others / "images" / "train")
        (folder / "drawn.txt").write_text("".join(f"{p}\n" for p in drawn))
        (folder / "rest.txt").write_text("".join(f"{p}\n" for p in rest))
        stated = names(root / "data.yaml")
        self.sets = {}
        for name, judges in (("val", str(root / "images" / "val")), ("unseen train", str(folder / "rest.txt"))):
            path = folder / f"{name.split()[0]}.yaml"
            path.write_text(f"path: {folder}\ntrain: {folder / 'drawn.txt'}\nval: {judges}\n{stated}")
            self.sets[name] = path


class Tool:
    def __init__(self, binary: str):
        self.binary = binary

    def run(self, *args: str) -> dict:
        with tempfile.NamedTemporaryFile(suffix=".json") as record:
            command = [self.binary, *args, "--json", record.name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode not in (0, 1):
                sys.exit(f"{' '.join(command)}\n{done.stderr}")
            return json.loads(Path(record.name).read_text())

    def map_50_95(self, model: Path, data: Path, engine: str) -> float:
        return self.run("val", str(model), "--data", str(data), "--engine", engine)["map_50_95"]


def commands(detector: Detector, prune_options: list[str]):
    """Each command that changes the model, by its description, with the engine that runs the result."""
    for ratio in detector.prune:
        arguments = ["prune", "--macs", ratio, *prune_options]
        yield " ".join(arguments), arguments, "builtin"
    for calibrator, target in QUANTIZE:
        arguments = ["quantize", "--calibrator", calibrator, "--target", target]
        yield f"quantize --calibrator {calibrator} --target {target}", arguments, target


def measure(
    tool: Tool, assets: Path, detector: Detector, seeds: range, only: str, prune_options: list[str]
) -> list[dict]:
    model = assets / "weights" / detector.model
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            draw = Draw(assets, detector, seed, folder)
            dense = {name: tool.map_50_95(model, data, "builtin") for name, data in draw.sets.items()}
            for what, (verb, *arguments), engine in commands(detector, prune_options):
                if only not in what:
                    continue
                out = folder / "out.onnx"
                data = str(draw.sets["val"])
                tool.run(verb, str(model), "--data", data, "-n", str(CALIBRATION_IMAGES), "-o", str(out), *arguments)
                for name, judges in draw.sets.items():
                    kept = tool.map_50_95(out, judges, engine) / dense[name]
                    rows.setdefault(what, {}).setdefault(name, []).append(kept)
                    print(f"{detector.model} {what}, draw {seed}, {name}: {kept:.4f}", file=sys.stderr)
    return [{"model": detector.model, "command": what, "kept": kept} for what, kept in rows.items()]


def text(kept: list[float]) -> str:
    mean = sum(kept) / len(kept)
    return f"{100 * mean:.1f} % ({100 * min(kept):.1f} to {100 * max(kept):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yoloslim", default="target/release/yoloslim")
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--model", choices=DETECTORS, action="append", help="all of them, unless named")
    parser.add_argument("--command", default="", help="only commands whose description contains this")
    parser.add_argument("--prune-options", default="", help="what `prune` is given beside the share of the MACs")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for name in args.model or DETECTORS:
        rows += measure(
            Tool(args.yoloslim),
            args.assets.resolve(),
            DETECTORS[name],
            range(args.draws),
            args.command,
            args.prune_options.split(),
        )
    print("| model | command | val | unseen train |\n|---|---|---|---|")
    for row in rows:
        kept = row["kept"]
        print(f"| {row['model']} | `{row['command']}` | {text(kept['val'])} | {text(kept['unseen train'])} |")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
