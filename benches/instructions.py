#!/usr/bin/env python3
"""Instructions that benchmarks execute for one iteration: a figure that no busy or slow machine changes, unlike their time.

    instructions.py yoloslim-kernels 'qconv.*avx2: 64'

Each benchmark of the package whose path matches the pattern (a regular expression) runs once and three times; what two runs add, halved, is
an iteration without what comes before it. Counted by the processor where `perf` may read its counter, in user mode; elsewhere, as on many
virtual machines, by valgrind, which knows no AVX-512: its rows are of AVX2 and what is below. One line a benchmark.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def executables(package):
    command = ["cargo", "bench", "--locked", "-p", package, "--benches", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["kind"] == ["bench"]:
            yield message["executable"]


def by_perf(command):
    done = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u", *command], capture_output=True, text=True)
    found = re.search(r"^(\d+),.*instructions", done.stderr, re.MULTILINE)
    return int(found[1]) if found else None


def by_valgrind(command):
    counted = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    done = subprocess.run(counted, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return int(found[1])


def counter():
    try:
        return by_perf if by_perf(["true"]) else by_valgrind
    except FileNotFoundError:
        return by_valgrind


def paths(executable, pattern, prefix):
    """The benchmarks, from the tree that divan draws of those that match: three columns a level."""
    command = [*prefix, executable, "--bench", "--test", "--color", "never", pattern]
    tree = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    levels, found = [], []
    for line in tree.splitlines():
        name = line.lstrip("│├╰─ ")
        if not name.strip() or name.startswith("Timer"):
            continue
        del levels[(len(line) - len(name)) // 3 :]
        levels.append(name.strip())
        found.append("::".join(levels))
    return [path for path in found if not any(other.startswith(f"{path}::") for other in found)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("pattern", nargs="?", default="")
    a = parser.parse_args()
    count = counter()
    prefix = ["valgrind", "--tool=none", "-q"] if count is by_valgrind else []
    for executable in executables(a.package):
        for path in paths(executable, a.pattern, prefix):
            once = [executable, "--bench", "--exact", path, "--sample-count", "1", "--sample-size"]
            one, three = count([*once, "1"]), count([*once, "3"])
            print(f"{(three - one) // 2:>15,}  {path}", flush=True)


if __name__ == "__main__":
    main()
