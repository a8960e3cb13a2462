"""Four cameras that fail in every way, for as long as wanted: `yoloslim serve` must go on, and its memory must not grow.

    python3 benches/soak.py --yoloslim target/release/yoloslim --model int8.onnx --video a.mp4 b.mp4 c.mp4 d.mp4 --minutes 20

Cameras are RTSP servers on this machine (GStreamer: Debian's gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good and -bad,
python3-gi, run by /usr/bin/python3), each a process that plays one of the files. Every 20 seconds one of them is killed,
stalled (stopped by a signal), frozen (the same picture over and over), corrupted (bytes of its frames are changed) or comes back with
another size; after 15 seconds it is whole again. Watched: the JSON lines, and the resident memory of the server and its decoders.
Ends with 1 where the server ended, a source did not come back in time, or memory grew after the warm-up.
"""
import argparse
import atexit
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CAMERA = """
import gi, sys
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( filesrc location={sys.argv[2]} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )")
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
GLib.MainLoop().run()
"""

FAULT_EVERY_S, FAULT_S = 20, 15
# The longest wait before a decoder is started anew, the time until it is missed, and a little for the start.
BACK_WITHIN_S = 30 + 5 + 10


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "fatal", "-y", *arguments], check=True)


class Camera:
    """A process that plays a file by RTSP."""

    def __init__(self, port, clips, script):
        self.port, self.clips, self.script = port, clips, script
        self.process = None
        self.play("good")

    def play(self, clip):
        self.end()
        command = ["/usr/bin/python3", self.script, str(self.port), self.clips[clip]]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


def break_camera(camera, fault):
    if fault == "killed":
        camera.end()
    elif fault == "stalled":
        camera.process.send_signal(signal.SIGSTOP)
    else:
        camera.play(fault)


def mend_camera(camera, fault):
    if fault == "stalled":
        camera.process.send_signal(signal.SIGCONT)
    else:
        camera.play("good")


def make_clips(videos, folder, minutes):
    clips = []
    names = ["good", "frozen", "corrupted", "resized"]
    for i, video in enumerate(videos):
        paths = {name: os.path.join(folder, f"{i}_{name}.mp4") for name in names}
        encode = ["-an", "-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "25"]
        once, still = os.path.join(folder, "once.mp4"), os.path.join(folder, "still.png")
        ffmpeg("-i", video, "-t", "20", *encode, once)
        # Longer than the run: a camera has no end.
        ffmpeg("-stream_loop", str(int(3 * minutes) + 6), "-i", once, "-c", "copy", paths["good"])
        ffmpeg("-i", video, "-frames:v", "1", still)
        picture = ["-loop", "1", "-framerate", "25", "-i", still, "-t", "60"]
        ffmpeg(*picture, *encode, "-pix_fmt", "yuv420p", paths["frozen"])
        ffmpeg("-stream_loop", "2", "-i", video, "-t", "60", "-vf", "scale=960:-2", *encode, paths["resized"])
        # One byte in some thousands, and never a parameter set.
        ffmpeg("-i", paths["good"], "-t", "60", "-c", "copy", "-bsf:v", "noise=amount=2000*not(key)", paths["corrupted"])
        clips.append(paths)
    return clips


def rss_mb(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024
    except (OSError, TypeError):
        return 0.0


def slope_mb_per_minute(samples):
    times, values = zip(*samples)
    middle, mean = statistics.fmean(times), statistics.fmean(values)
    spread = sum((t - middle) ** 2 for t in times)
    return 60 * sum((t - middle) * (v - mean) for t, v in samples) / spread if spread else 0.0


class Events:
    """The lines that the server writes."""

    def __init__(self, path):
        self.file, self.states, self.kinds = open(path), {}, {}

    def read(self):
        while line := self.file.readline():
            event = json.loads(line)
            self.kinds[event["kind"]] = self.kinds.get(event["kind"], 0) + 1
            if event["kind"] == "source":
                self.states[event["camera"]] = event["state"]
                yield event


def serve(args, folder, ports):
    settings = os.path.join(folder, "serve.toml")
    events = os.path.join(folder, "events.jsonl")
    open(events, "w").close()
    with open(settings, "w") as file:
        file.write(f'model = "{os.path.abspath(args.model)}"\nevents.path = "{events}"\nhttp.listen = "127.0.0.1:0"\n')
        for i, port in enumerate(ports):
            file.write(f'[[source]]\nname = "camera{i + 1}"\nurl = "rtsp://127.0.0.1:{port}/cam"\n')
            file.write("stale_after_s = 5.0\nfrozen_after_s = 8.0\n")
            if args.fps:
                file.write(f"fps = {args.fps}\n")
    log = open(os.path.join(folder, "serve.log"), "w")
    return subprocess.Popen([args.yoloslim, "serve", "--config", settings], stdout=log, stderr=log), Events(events)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yoloslim", default="target/release/yoloslim")
    parser.add_argument("--model", required=True)
    parser.add_argument("--video", nargs=4, required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--warm-up-minutes", type=float, default=4)
    parser.add_argument("--fps", type=float, help="the most frames a second of each camera that are looked at")
    parser.add_argument("--port", type=int, default=8601)
    args = parser.parse_args()
    folder = tempfile.mkdtemp()
    script = os.path.join(folder, "camera.py")
    with open(script, "w") as file:
        file.write(CAMERA)
    ports = [args.port + i for i in range(4)]
    cameras = [Camera(port, clips, script) for port, clips in zip(ports, make_clips(args.video, folder, args.minutes))]
    time.sleep(2)
    server, events = serve(args, folder, ports)
    failures, memory, waits, seen = [], [], {}, {}
    order, faults = random.Random(0), ["killed", "stalled", "frozen", "corrupted", "resized"]
    started, next_fault, number, ongoing, mended = time.time(), 30, 0, None, {}
    atexit.register(lambda: [camera.end() for camera in cameras])
    while (now := time.time() - started) < 60 * args.minutes and server.poll() is None:
        time.sleep(0.5)
        for event in events.read():
            camera = int(event["camera"][-1]) - 1
            if ongoing and ongoing[0] == camera and event["state"] == "down":
                seen.setdefault(ongoing[1], set()).add(event["reason"])
            if event["state"] == "live" and camera in mended:
                since, fault = mended.pop(camera)
                waits.setdefault(fault, []).append(now - since)
        for camera, (since, fault) in list(mended.items()):
            if events.states.get(f"camera{camera + 1}") == "live" and now - since > 2:
                mended.pop(camera)
                waits.setdefault(fault, []).append(0.0)
            elif now - since > BACK_WITHIN_S:
                mended.pop(camera)
                failures.append(f"camera{camera + 1} did not come back after it was {fault}")
        if now > 60 * args.warm_up_minutes:
            memory.append((now, rss_mb(server.pid)))
        if ongoing and now > ongoing[2] + FAULT_S:
            mend_camera(cameras[ongoing[0]], ongoing[1])
            mended[ongoing[0]] = (now, ongoing[1])
            ongoing = None
        elif not ongoing and now > next_fault and now < 60 * args.minutes - BACK_WITHIN_S:
            fault, camera = faults[number % len(faults)], order.randrange(4)
            number, next_fault = number + 1, now + FAULT_EVERY_S
            if camera not in mended:
                break_camera(cameras[camera], fault)
                ongoing = (camera, fault, now)
    alive = server.poll() is None
    server.send_signal(signal.SIGTERM)
    code = server.wait(timeout=30) if alive else server.poll()
    [camera.end() for camera in cameras]
    slope = slope_mb_per_minute(memory)
    print(f"{now / 60:.1f} minutes, {number} faults, server {'lived' if alive else 'DIED'}, exit code {code}")
    for fault, times in waits.items():
        told = ", ".join(sorted(seen.get(fault, []))) or "not told"
        print(f"  {fault}: {len(times)} times, told as {told}; back after {max(times):.0f} s at most")
    low, high = min(v for _, v in memory), max(v for _, v in memory)
    print(f"  resident memory {low:.0f} to {high:.0f} MB after the warm-up, slope {slope:+.3f} MB a minute")
    print(f"  lines by kind: {events.kinds}")
    if not alive or code != 0:
        failures.append("the server ended")
    # A slope of less than the samples' own spread over the whole time is none.
    if slope * (now / 60 - args.warm_up_minutes) > max(2.0, 0.02 * low):
        failures.append("memory grew")
    print("\n".join(failures) or "passed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
