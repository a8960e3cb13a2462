"""200 callers at once post images to `yoloslim serve`, one in ten of them garbage: right answers, clear refusals, bounded memory.

    python3 benches/posts.py --yoloslim target/release/yoloslim --model int8.onnx --images folder/ [--callers 200] [--rounds 5]

Every caller posts `--rounds` bodies to `POST /v1/detect`, one after the other. Garbage is text, a truncated image, an image whose
header promises 60000 x 60000 pixels, an empty body, and JSON under the name of a JPEG. Printed: answers by status, the time an image took
(median, p99, most) with one caller and with all of them, and the server's largest resident memory. Ends with 1 where an image was not
answered as it was when it was asked alone, or garbage was answered with anything but 4xx.
"""
import argparse
import http.client
import json
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib


def bomb():
    """A PNG whose header promises 10 GB of pixels."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def post(port, body, kind="image/jpeg"):
    """Status, answer, milliseconds."""
    start = time.perf_counter()
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    caller.request("POST", "/v1/detect", body, {"Content-Type": kind})
    answer = caller.getresponse()
    text = answer.read()
    caller.close()
    return answer.status, text, (time.perf_counter() - start) * 1e3


def objects(text):
    return json.loads(text)["detections"]


def quantile(times, share):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--yoloslim", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True, type=pathlib.Path)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    images = [path.read_bytes() for path in sorted(asked.images.glob("*.jpg"))[:32]]
    if not images:
        sys.exit(f"no *.jpg in {asked.images}")
    garbage = [b"no image at all" * 100, images[0][: len(images[0]) // 2], bomb(), b"", b'{"a": 1}']

    with tempfile.TemporaryDirectory() as folder:
        # A folder without images is a source that is down: HTTP alone is measured.
        serve = subprocess.Popen(
            [asked.yoloslim, "serve", asked.model, "--source", folder, "--listen", "127.0.0.1:0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        port = None
        for line in serve.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
                break
        if port is None:
            sys.exit("the server did not say where it listens")
        threading.Thread(target=serve.stderr.read, daemon=True).start()

        alone, expected = [], []
        for image in images:
            status, text, ms = post(port, image)
            if status != 200:
                sys.exit(f"an image that is asked alone is answered with {status}: {text[:200]}")
            expected.append(objects(text))
            alone.append(ms)

        statuses, times, wrong = {}, [], []
        lock = threading.Lock()
        together = threading.Barrier(asked.callers)

        def call(seed):
            chance = random.Random(seed)
            together.wait()
            for _ in range(asked.rounds):
                is_garbage = chance.random() < 0.1
                index = chance.randrange(len(garbage if is_garbage else images))
                try:
                    status, text, ms = post(port, (garbage if is_garbage else images)[index])
                except OSError as error:
                    status, text, ms = f"no answer ({type(error).__name__})", b"", 0.0
                with lock:
                    statuses[status] = statuses.get(status, 0) + 1
                    if is_garbage:
                        # A truncated JPEG may be read as far as it goes, as OpenCV does.
                        if not (str(status).startswith("4") or (index == 1 and status == 200)):
                            wrong.append(("garbage", index, status, text[:100]))
                    elif status == 200:
                        times.append(ms)
                        if objects(text) != expected[index]:
                            wrong.append(("image", index, status, text[:100]))
                    elif status not in (429, 503):
                        wrong.append(("image", index, status, text[:100]))

        start = time.perf_counter()
        callers = [threading.Thread(target=call, args=(seed,)) for seed in range(asked.callers)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        took_s = time.perf_counter() - start
        peak = next(line for line in open(f"/proc/{serve.pid}/status") if line.startswith("VmHWM"))
        serve.terminate()
        ended = serve.wait()

    cpu = next(line for line in open("/proc/cpuinfo") if line.startswith("model name")).split(":")[1].strip()
    print(f"CPU: {cpu}; {asked.callers} callers, {asked.rounds} bodies each, {len(images)} images")
    print("answers:", ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items(), key=str)))
    for name, ms in [("alone", alone), (f"{asked.callers} at once", times)]:
        print(f"an image, {name}: median {quantile(ms, 0.5):.1f} ms, p99 {quantile(ms, 0.99):.1f} ms, most {max(ms):.1f} ms")
    print(f"{len(times) / took_s:.1f} images a second; largest resident memory {int(peak.split()[1]) / 1024:.0f} MB")
    for what in wrong[:10]:
        print("wrong:", *what)
    sys.exit(1 if wrong or ended != 0 else 0)


if __name__ == "__main__":
    main()
