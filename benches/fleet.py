"""A fleet of agents on one registry: a rollout, then a rollback, with agents killed at random moments meanwhile.

Every agent is a process of the program, as on a device; the bundles' models are random bytes and the golden frames are not
run, since 50 detectors on one machine measure nothing. Each agent's `current` link is read all the time: it must lead to a
bundle whose files are those of its bundle.json, from the first one on.

    python3 benches/fleet.py --program target/release/yoloslim [--agents 50] [--registry docker-registry] [--idle 120]

Without --registry the repository is an OCI layout folder.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/yoloslim")
    parser.add_argument("--agents", type=int, default=50)
    parser.add_argument("--registry", help="docker-registry's program; without it a layout folder")
    parser.add_argument("--killed", type=float, default=0.1, help="share of the agents that are killed in each phase")
    parser.add_argument("--model-bytes", type=int, default=2_000_000)
    parser.add_argument("--poll", type=float, default=2.0)
    parser.add_argument("--probation", type=float, default=2.0)
    parser.add_argument("--idle", type=float, default=0.0, help="seconds of which memory and CPU of idle agents are measured")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def bundle(folder, model):
    """A sealed bundle: what the format asks for, with random bytes for a model."""
    files = {"models/builtin.onnx": (model, "model"), "golden/golden.json": (b"[]", "golden")}
    entries = {}
    for name, (content, role) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        entries[name] = {
            "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "role": role,
        }
    digest = "sha256:" + hashlib.sha256(b"").hexdigest()
    manifest = {
        "yoloslim_bundle": 1,
        "name": "fleet",
        "family": "v8",
        "classes": ["thing"],
        "input": {"channels": 3, "height_px": 320, "width_px": 320},
        "thresholds": {"conf": 0.25, "iou": 0.7},
        "models": {"builtin": "models/builtin.onnx"},
        "metrics": {},
        "data": {"digest": digest, "images": 0, "objects": 0},
        "provenance": {"model": digest, "commit": None, "tool": "fleet.py"},
        "files": entries,
    }
    (folder / "bundle.json").write_text(json.dumps(manifest, indent=2))


class Registry:
    """Debian's docker-registry on a free port."""

    def __init__(self, program, folder):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        config = folder / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
            f"http: {{addr: 127.0.0.1:{self.port}}}\n"
        )
        log = open(folder / "registry.log", "w")
        self.process = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        sys.exit("the registry does not come up")


class Device:
    """An agent's process, and what is seen of its folder."""

    def __init__(self, site, number):
        self.site, self.number = site, number
        self.folder = site.folder / f"device-{number}"
        self.folder.mkdir()
        self.state = self.folder / "state"
        self.had_one = False
        (self.folder / "agent.toml").write_text(
            f'device = "dev-{number}"\nsource = "{site.location}:candidate"\nkeys = "{site.folder}/maker.pub"\n'
            f'state = "state"\npoll_s = {site.args.poll}\nprobation_s = {site.args.probation}\n'
            f'metrics_file = "agent.prom"\n[warm_up]\ncommand = ["true"]\n'
        )
        self.start()

    def start(self):
        log = open(self.folder / "agent.log", "a")
        command = [self.site.program, "agent", "run", self.folder / "agent.toml"]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def look(self):
        """The version in use, of a bundle that is whole; a sentence where there is something wrong."""
        try:
            slot = os.readlink(self.state / "current")
        except FileNotFoundError:
            return "no model where there was one" if self.had_one else 0
        self.had_one = True
        path = self.state / slot
        try:
            manifest = json.loads((path / "bundle.json").read_bytes())
            for name, entry in manifest["files"].items():
                if hashlib.sha256((path / name).read_bytes()).hexdigest() != entry["digest"][7:]:
                    raise ValueError(f"{name} is another")
            return int((path / "bundle.json.minisig").read_text().rsplit("version ", 1)[1].split()[0])
        except (OSError, ValueError) as error:
            # It was switched while it was read: what was read is no longer in use.
            return self.look() if os.readlink(self.state / "current") != slot else f"{slot}: {error}"

    def report(self):
        try:
            return json.loads((self.state / "report.json").read_bytes())
        except OSError:
            return {}


class Site:
    """A registry, a key, and devices."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.program = Path(args.program).resolve()
        self.wrong, self.looks, self.done, self.name = [], 0, False, "start"
        self.registry = Registry(args.registry, folder) if args.registry else None
        self.location = f"127.0.0.1:{self.registry.port}/fleet" if args.registry else f"oci:{folder}/store"
        self.run("keygen", folder / "maker", "--no-passphrase")
        self.devices = []

    def run(self, *words):
        words = [str(word) for word in words]
        done = subprocess.run([self.program, *words], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(words)}: {done.stderr}")

    def publish(self, name, model, version):
        folder = self.folder / name
        bundle(folder, model)
        self.run("sign", folder, "--key", self.folder / "maker.key", "--version", version)
        self.run("push", folder, f"{self.location}:candidate")

    def see(self, device):
        """Looks at a device; what is wrong is kept, with when it was."""
        found = device.look()
        # A device that never had a model yet has none to lose: such looks prove nothing and are not counted.
        self.looks += device.had_one
        if isinstance(found, str):
            self.wrong.append(f"{time.monotonic():.3f} in {self.name}: device {device.number}: {found}")
        return found

    def watch(self):
        while not self.done:
            for device in list(self.devices):
                if self.done:
                    return
                self.see(device)

    def phase(self, name, version, draw):
        """Waits until every device has taken a version and holds it to be healthy; kills some on the way."""
        start, self.name = time.monotonic(), name
        count = round(self.args.killed * len(self.devices))
        plan = sorted((draw.uniform(0, 2 * self.args.poll + self.args.probation), d) for d in draw.sample(range(len(self.devices)), count))
        while True:
            now = time.monotonic() - start
            while plan and plan[0][0] <= now:
                device = self.devices[plan.pop(0)[1]]
                device.kill()
                device.start()
            left = []
            for device in self.devices:
                report = device.report()
                on_it = (report.get("running") or {}).get("version") == version and report.get("healthy")
                if self.see(device) != version or not on_it:
                    left.append(device.number)
            if not left and not plan:
                break
            if not self.watcher.is_alive():
                sys.exit(f"{name}: nobody watches any more")
            if now > 600:
                sys.exit(f"{name}: {left} do not converge")
            time.sleep(0.2)
        print(f"{name}: {len(self.devices)} agents on version {version} after {time.monotonic() - start:.1f} s, {count} killed")


def ticks(pid):
    return sum(int(field) for field in Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13])


def memory(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    return {name: int(facts[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon", "RssFile")}


def idle(site, seconds):
    before = {device.number: ticks(device.process.pid) for device in site.devices}
    time.sleep(seconds)
    hertz = os.sysconf("SC_CLK_TCK")
    cpu = sorted((ticks(d.process.pid) - before[d.number]) / hertz / seconds * 100 for d in site.devices)
    rss = [memory(d.process.pid) for d in site.devices]
    largest = max(rss, key=lambda facts: facts["VmRSS"])
    print(
        f"idle for {seconds:.0f} s, a look each {site.args.poll} s: largest VmRSS {largest['VmRSS']:.1f} MB"
        f" (RssAnon {largest['RssAnon']:.1f}, RssFile {largest['RssFile']:.1f}),"
        f" CPU of one core: median {cpu[len(cpu) // 2]:.3f} %, largest {cpu[-1]:.3f} %"
    )


def main():
    args = arguments()
    draw = random.Random(args.seed)
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    site = Site(args, folder)
    site.watcher = threading.Thread(target=site.watch)
    try:
        models = [draw.randbytes(args.model_bytes) for _ in range(2)]
        site.publish("one", models[0], 1)
        site.devices = [Device(site, number) for number in range(args.agents)]
        site.watcher.start()
        site.phase("first rollout", 1, draw)
        site.publish("two", models[1], 2)
        site.phase("rollout", 2, draw)
        # To go back is to sign the older bundle as a new version.
        site.publish("three", models[0], 3)
        site.phase("rollback", 3, draw)
        site.done = True
        site.watcher.join()
        if args.idle:
            idle(site, args.idle)
    finally:
        # Nobody looks any more once folders are removed.
        site.done = True
        if site.watcher.is_alive():
            site.watcher.join()
        for device in site.devices:
            device.process.send_signal(signal.SIGTERM)
            device.process.wait()
        if site.registry:
            site.registry.process.terminate()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{site.looks} looks at devices that had a model: {len(site.wrong)} without a whole model")
    if site.wrong:
        sys.exit("\n".join(site.wrong[:10]))


if __name__ == "__main__":
    main()
