#!/usr/bin/env python3
"""Makes a copy of a split in which every image is darkened, blurred and noisy, with its labels: what a model loses there.

    degrade.py DATA_FOLDER SPLIT OUT [--seed 0] [--each]

DATA_FOLDER holds images/SPLIT and labels/SPLIT. OUT gets images/val, labels/val and a data.yaml whose class names are those of
DATA_FOLDER's. With --each, three folders OUT/dark, OUT/blur and OUT/noise are written instead, one change each. Needs OpenCV and
NumPy (.ci/referees.txt)."""

import argparse
import pathlib
import shutil

import cv2
import numpy as np


def degrade(image, rng, kinds):
    longest = max(image.shape[:2])
    out = image.astype(np.float64)
    if "blur" in kinds:
        sigma = rng.uniform(0.8, 1.6) * longest / 640
        out = cv2.GaussianBlur(out, (0, 0), sigma)
    if "dark" in kinds:
        # Light times 0.15 to 0.35: one and a half to nearly three stops.
        out = 255.0 * np.power(np.power(out / 255.0, 2.2) * rng.uniform(0.15, 0.35), 1 / 2.2)
    if "noise" in kinds:
        variance = 0.3 * np.clip(out, 0, 255) + 5.0**2
        out = out + rng.standard_normal(out.shape) * np.sqrt(variance)
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)


def write(data, split, out, kinds, seed):
    for part in ("images", "labels"):
        (out / part / "val").mkdir(parents=True, exist_ok=True)
    for at, path in enumerate(sorted((data / "images" / split).iterdir())):
        image = cv2.imread(str(path))
        rng = np.random.default_rng([seed, at])
        cv2.imwrite(str(out / "images" / "val" / (path.stem + ".png")), degrade(image, rng, kinds))
        label = data / "labels" / split / (path.stem + ".txt")
        if label.exists():
            shutil.copy(label, out / "labels" / "val" / label.name)
    lines = (data / "data.yaml").read_text().splitlines()
    lines = [line for line in lines if line.split(":")[0] not in ("path", "train", "val", "test")]
    (out / "data.yaml").write_text("\n".join(["train: images/val", "val: images/val", *lines]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("split")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", action="store_true")
    args = parser.parse_args()
    if args.each:
        for kind in ("dark", "blur", "noise"):
            write(args.data, args.split, args.out / kind, {kind}, args.seed)
    else:
        write(args.data, args.split, args.out, {"dark", "blur", "noise"}, args.seed)


if __name__ == "__main__":
    main()
