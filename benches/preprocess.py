#!/usr/bin/env python3
"""Preprocessing of a video frame, ours and OpenCV's in turn, round after round, one thread each.

    cargo build --release -p yoloslim-yolo --example preprocess
    benches/preprocess.py [--ours target/release/examples/preprocess] [--size 1920x1080] [--side 640] [--rounds 20]

Both begin with the planes Y, U and V (I420) of a frame of noise over gradients. Ours ends with the bytes that the engine
takes (its table of 256 entries scales and quantizes them); OpenCV's with the f32 tensor [1, 3, H, W] that other engines
take: cvtColor, resize, copyMakeBorder, and then either blobFromImage or NumPy, whichever is faster. Prints medians, the
ratio to OpenCV's, and OpenCV's ratio without the last step. Needs a Python with cv2 and NumPy.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np


def frame_of(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = np.stack([x, y, 255 - (x + y) / 2], axis=2) + rng.normal(0, 8, (height, width, 3))
    return cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_RGB2YUV_I420)


def letterboxed(frame: np.ndarray, side: int) -> np.ndarray:
    rgb = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420)
    height, width = rgb.shape[:2]
    ratio = min(side / height, side / width)
    w, h = round(width * ratio), round(height * ratio)
    scaled = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_LINEAR)
    left, top = (side - w) // 2, (side - h) // 2
    return cv2.copyMakeBorder(
        scaled, top, side - h - top, left, side - w - left, cv2.BORDER_CONSTANT, value=(114, 114, 114)
    )


def by_blob(frame: np.ndarray, side: int) -> np.ndarray:
    return cv2.dnn.blobFromImage(letterboxed(frame, side), 1 / 255)


def by_numpy(frame: np.ndarray, side: int) -> np.ndarray:
    planes = np.ascontiguousarray(letterboxed(frame, side).transpose(2, 0, 1))[None]
    return planes.astype(np.float32) * np.float32(1 / 255)


def times_ms(work, rounds: int) -> list[float]:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default="target/release/examples/preprocess")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=30, help="runs a round, of which the median counts")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = map(int, args.size.split("x"))
    frame = frame_of(width, height)
    median = statistics.median
    rows: dict[str, list[float]] = {}
    with tempfile.NamedTemporaryFile(suffix=".yuv") as file:
        Path(file.name).write_bytes(frame.tobytes())
        ours = [args.ours, file.name, str(width), str(height), str(args.side), str(args.runs)]
        for _ in range(args.rounds):
            printed = subprocess.run(ours, check=True, capture_output=True, text=True).stdout
            rows.setdefault("ours", []).append(median(float(line) for line in printed.split()))
            for name, work in [("blobFromImage", by_blob), ("NumPy", by_numpy), ("bytes only", letterboxed)]:
                times = times_ms(lambda: work(frame, args.side), args.runs)
                rows.setdefault(name, []).append(median(times))
    print(f"{args.size} to {args.side} x {args.side}, OpenCV {cv2.__version__}, one thread")
    for name, times in rows.items():
        ratios = [own / their for own, their in zip(rows["ours"], times)]
        print(f"{name:>14}: median {median(times):.3f} ms, fastest {min(times):.3f} ms, ours / it {median(ratios):.3f}")
    best = [min(pair) for pair in zip(rows["blobFromImage"], rows["NumPy"])]
    ratios = [own / their for own, their in zip(rows["ours"], best)]
    print(f"ours / OpenCV with normalisation, the faster way: {median(ratios):.3f} (median of {args.rounds} rounds)")


if __name__ == "__main__":
    main()
