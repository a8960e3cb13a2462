#!/usr/bin/env python3
"""Latency of models in turn, round after round, so that a busy machine hits all alike.

    benches/speed.py [--yoloslim BIN] [--rounds 10] [--runs 20] [--threads 2] LABEL=ENGINE:MODEL ...

ENGINE is `yoloslim` (or `yoloslim@PATH` for another binary), or a peer of `benches/peers.py`: `onnxruntime`, `openvino`,
`openvino-bf16`. Prints one Markdown row an entry: median and fastest of the rounds' medians, and the median over rounds
of its ratio to the first entry. The peers need the Python that runs this script to have their packages.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

PEERS = Path(__file__).with_name("peers.py")


@dataclass
class Entry:
    label: str
    engine: str
    model: str
    medians_ms: list[float] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> "Entry":
        label, _, rest = text.partition("=")
        engine, _, model = rest.partition(":")
        if not (label and engine and model):
            sys.exit(f"{text!r} is not LABEL=ENGINE:MODEL")
        return cls(label, engine, model)

    def run(self, binary: str, runs: int, threads: int) -> None:
        with tempfile.NamedTemporaryFile(suffix=".json") as record:
            options = ["--runs", str(runs), "--threads", str(threads), "--json", record.name]
            engine, _, other = self.engine.partition("@")
            if engine == "yoloslim":
                command = [other or binary, "bench", self.model, *options]
            else:
                command = [sys.executable, str(PEERS), "bench", self.model, "--engine", engine, *options]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"{' '.join(command)}\n{done.stderr}")
            latency = json.loads(Path(record.name).read_text())["models"][0]["latency_ms"]
            self.medians_ms.append(latency["median"])


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="+", metavar="LABEL=ENGINE:MODEL")
    parser.add_argument("--yoloslim", default="target/release/yoloslim")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    entries = [Entry.parse(text) for text in args.entries]
    for turn in range(args.rounds):
        for entry in entries:
            entry.run(args.yoloslim, args.runs, args.threads)
        print(f"round {turn + 1}/{args.rounds}", file=sys.stderr)
    print(f"{cpu()}; {args.threads} threads, {args.rounds} rounds of {args.runs} runs")
    print("| model | median | fastest round | ratio to the first |\n|---|---|---|---|")
    for entry in entries:
        ratios = [own / first for own, first in zip(entry.medians_ms, entries[0].medians_ms)]
        median, fastest = statistics.median(entry.medians_ms), min(entry.medians_ms)
        print(f"| {entry.label} | {median:.2f} ms | {fastest:.2f} ms | {statistics.median(ratios):.3f} |")


if __name__ == "__main__":
    main()
