"""The same work as `yoloslim bench --video`, by ONNX Runtime and OpenCV, in turn with it.

    python benches/cameras.py --yoloslim target/release/yoloslim --ours int8.onnx --theirs int8_ort.onnx \
        --video cam0.mp4 cam1.mp4 cam2.mp4 cam3.mp4 --rounds 3

Each camera is a video file, read by cv2.VideoCapture at the file's own rate on a thread of its own, its latest frame kept. Sessions
take the latest frames in turn: letterbox, blobFromImage, ONNX Runtime (INT8), decoding of [1, N, 5 + C] or [1, 4 + C, N],
cv2.dnn.NMSBoxes. Two ways are tried, and the better one counts: one session of as many threads as cores, or as many sessions of one
thread. Printed: frames a second of each, and the ratio.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time

import cv2
import numpy as np
import onnxruntime as ort


class Camera(threading.Thread):
    """Plays a file at its own rate; keeps its latest frame."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.frame, self.sent, self.ending = path, None, 0, False
        self.lock = threading.Lock()

    def run(self):
        capture = cv2.VideoCapture(self.path)
        interval = 1 / capture.get(cv2.CAP_PROP_FPS)
        due = time.perf_counter()
        while not self.ending:
            read, frame = capture.read()
            if not read:
                capture = cv2.VideoCapture(self.path)
                continue
            due = max(due + interval, time.perf_counter() - interval)
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            with self.lock:
                self.frame = frame
                self.sent += 1

    def take(self):
        with self.lock:
            frame, self.frame = self.frame, None
        return frame


def detect(session, frame, side, conf=0.25, iou=0.45):
    height, width = frame.shape[:2]
    scale = min(side / height, side / width)
    new = round(width * scale), round(height * scale)
    left, top = (side - new[0]) // 2, (side - new[1]) // 2
    small = cv2.resize(frame, new, interpolation=cv2.INTER_LINEAR)
    boxed = cv2.copyMakeBorder(
        small, top, side - new[1] - top, left, side - new[0] - left, cv2.BORDER_CONSTANT, value=(114, 114, 114)
    )
    blob = cv2.dnn.blobFromImage(boxed, 1 / 255, swapRB=True)
    out = session.run(None, {session.get_inputs()[0].name: blob})[0][0]
    if out.shape[0] < out.shape[1]:  # [4 + C, N]
        scores, boxes = out[4:].max(0), out[:4].T
    else:
        objects = out[:, 4]
        out = out[objects > conf]
        scores, boxes = (out[:, 5:] * out[:, 4:5]).max(1) if len(out) else np.zeros(0), out[:, :4]
    keep = scores > conf
    scores, boxes = scores[keep], boxes[keep]
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], 1)
    return cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), conf, iou)


def theirs(args, sessions, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    made = [ort.InferenceSession(args.theirs, options, providers=["CPUExecutionProvider"]) for _ in range(sessions)]
    side = made[0].get_inputs()[0].shape[2]
    cameras = [Camera(path) for path in args.video]
    [camera.start() for camera in cameras]
    counts, busy, ending = [0] * len(cameras), [threading.Lock() for _ in cameras], threading.Event()

    def work(session, at):
        while not ending.is_set():
            found = False
            for _ in cameras:
                at = (at + 1) % len(cameras)
                if busy[at].acquire(blocking=False):
                    frame = cameras[at].take()
                    if frame is not None:
                        detect(session, frame, side)
                        counts[at] += 1
                        found = True
                    busy[at].release()
            if not found:
                time.sleep(0.001)

    workers = [threading.Thread(target=work, args=(session, i)) for i, session in enumerate(made)]
    [worker.start() for worker in workers]
    time.sleep(4)
    before, started = sum(counts), time.perf_counter()
    time.sleep(args.seconds)
    fps = (sum(counts) - before) / (time.perf_counter() - started)
    ending.set()
    for camera in cameras:
        camera.ending = True
    [thread.join() for thread in workers + cameras]
    return fps


def ours(args):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.json")
        command = [args.yoloslim, "bench", args.ours, "--seconds", str(args.seconds), "--json", out]
        subprocess.run(command + ["--video", *args.video], check=True, stdout=subprocess.DEVNULL)
        with open(out) as file:
            return json.load(file)["models"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yoloslim", default="target/release/yoloslim")
    parser.add_argument("--ours", required=True)
    parser.add_argument("--theirs", required=True)
    parser.add_argument("--video", nargs="+", required=True)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cores = os.cpu_count()
    # OpenCV's own threads would fight with the sessions'.
    cv2.setNumThreads(1)
    ratios = []
    for _ in range(args.rounds):
        measured = ours(args)
        one, many = theirs(args, 1, cores), theirs(args, cores, 1)
        ratios.append(measured["total_fps"] / max(one, many))
        print(
            f"yoloslim {measured['total_fps']:.1f} fps (p99 {measured['p99_ms']:.0f} ms), ONNX Runtime and OpenCV "
            f"{one:.1f} fps with one session, {many:.1f} with {cores}: {ratios[-1]:.2f} times",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.2f} times, {len(args.video)} cameras, {cores} cores")


if __name__ == "__main__":
    main()
