#!/usr/bin/env python3
"""What the peers make of the same model: their latency, their INT8 model, their mAP.

    benches/peers.py bench MODEL --engine onnxruntime|openvino|openvino-bf16 [--threads 2] [--runs 20] [--json FILE]
    benches/peers.py quantize MODEL OUT --by minmax|entropy|percentile|nncf --images DIR [-n 100] [--float-tail]
    benches/peers.py val MODEL --data data.yaml [--engine onnxruntime|openvino]
    benches/peers.py ratio FLOAT INT8 --data data.yaml [--engine onnxruntime|openvino] [--threads 1] [--runs 30]

Needs the packages of `.ci/referees.txt`, `openvino` for its engine and `nncf` for `--by nncf`. `quantize` and `val` know
the heads of YOLOv5 (`[1, N, 5 + classes]`), YOLOv8 (`[1, 4 + classes, N]`) and YOLOX as its authors export it; pixels are
fed as each family's own tools feed them. Nothing of yoloslim is used, so that it can be held against them.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
# As `yoloslim val` has them: every box counts, the COCO protocol's 300 a picture at most.
CONFIDENCE, IOU, MAX_DETECTIONS = 0.001, 0.7, 300


class OnnxRuntime:
    def __init__(self, model: str, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self.shape = [d if isinstance(d, int) else 1 for d in self.input.shape]

    def run(self, pixels):
        return self.session.run(None, {self.input.name: pixels})

    def prepared(self, pixels):
        """A run of its own memory: neither the input nor the output is copied."""
        binding = self.session.io_binding()
        binding.bind_cpu_input(self.input.name, pixels)
        for output in self.session.get_outputs():
            binding.bind_output(output.name)
        return lambda: self.session.run_with_iobinding(binding)


class OpenVino:
    def __init__(self, model: str, threads: int, precision: str):
        import openvino

        hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        self.request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
        self.shape = list(self.request.model_inputs[0].shape)

    def run(self, pixels):
        self.request.infer({0: pixels})
        return [tensor.data for tensor in self.request.output_tensors]

    def prepared(self, pixels):
        """As the other's."""
        import openvino

        self.request.set_input_tensor(openvino.Tensor(pixels, shared_memory=True))
        return self.request.infer


def open_engine(name: str, model: str, threads: int):
    if name == "onnxruntime":
        return OnnxRuntime(model, threads)
    return OpenVino(model, threads, "bf16" if name.endswith("bf16") else "f32")


def bench(args: argparse.Namespace) -> dict:
    engine = open_engine(args.engine, args.model, args.threads)
    pixels = np.random.default_rng(0).random(engine.shape, dtype=np.float32)
    run_once, times_ms = engine.prepared(pixels), []
    for run in range(10 + args.runs):
        started = time.perf_counter()
        run_once()
        if run >= 10:
            times_ms.append(1e3 * (time.perf_counter() - started))
    latency = {"median": float(np.median(times_ms)), "min": min(times_ms), "runs": args.runs}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"models": [{"model": args.model, "engine": args.engine, "latency_ms": latency, "peak_rss_bytes": peak}]}


class Head:
    """How a model's pixels are fed and its output is read, by the shape of the output."""

    def __init__(self, model: str):
        probe = OnnxRuntime(model, 0)
        self.size = probe.shape[2]
        rows, columns = probe.session.get_outputs()[0].shape[1:3]
        cells = sum((self.size // stride) ** 2 for stride in (8, 16, 32))
        if columns == cells:
            self.family = "v8"
        elif rows == 3 * cells:
            self.family = "v5"
        elif rows == cells:
            self.family = "yolox"
        else:
            raise SystemExit(f"{model}: no head that this script knows gives [1, {rows}, {columns}] at {self.size} px")

    def letterbox(self, path: Path):
        """Pixels `[1, 3, size, size] f32`, the scale, and what was added at the left and the top, in px."""
        import cv2

        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        scale = min(self.size / height, self.size / width)
        canvas = np.full((self.size, self.size, 3), 114, np.uint8)
        left = top = 0
        if self.family == "yolox":
            new_width, new_height = int(width * scale), int(height * scale)
        else:
            new_width, new_height = round(width * scale), round(height * scale)
            left = round((self.size - new_width) / 2 - 0.1)
            top = round((self.size - new_height) / 2 - 0.1)
        resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
        canvas[top : top + new_height, left : left + new_width] = resized
        pixels = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        if self.family != "yolox":
            pixels = pixels[:, ::-1] / 255
        return np.ascontiguousarray(pixels), scale, (left, top), (width, height)

    def candidates(self, output):
        """Corners in input pixels, scores and classes of everything above the confidence."""
        rows = output[0].T if self.family == "v8" else output[0]
        centre, extent = rows[:, :2], rows[:, 2:4]
        if self.family == "yolox":
            corners, strides = [], []
            for stride in (8, 16, 32):
                side = self.size // stride
                y, x = np.divmod(np.arange(side * side), side)
                corners.append(np.stack((x, y), 1))
                strides.append(np.full((side * side, 1), stride))
            strides = np.concatenate(strides)
            centre, extent = (centre + np.concatenate(corners)) * strides, np.exp(extent) * strides
        scores = rows[:, 4:] if self.family == "v8" else rows[:, 4:5] * rows[:, 5:]
        row, classes = np.nonzero(scores > CONFIDENCE)
        boxes = np.concatenate((centre - extent / 2, centre + extent / 2), 1)[row]
        return boxes, scores[row, classes], classes


def suppress(boxes, scores, classes):
    import cv2

    order = scores.argsort()[::-1][:30_000]
    boxes, scores, classes = boxes[order], scores[order], classes[order]
    if not len(scores):
        return boxes, scores, classes
    apart = boxes + classes[:, None] * 10_000.0
    rectangles = np.concatenate((apart[:, :2], apart[:, 2:] - apart[:, :2]), 1)
    kept = cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, IOU)
    kept = np.array(kept, int).reshape(-1)[:MAX_DETECTIONS]
    return boxes[kept], scores[kept], classes[kept]


def images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


def ground_truth(paths: list[Path], sizes: list[tuple[int, int]], classes: int) -> dict:
    """The labels beside YOLO images, as COCO has them."""
    annotations = []
    for number, (path, (width, height)) in enumerate(zip(paths, sizes)):
        label = Path(str(path).replace("/images/", "/labels/")).with_suffix(".txt")
        for line in label.read_text().splitlines() if label.exists() else []:
            if not line.strip():
                continue
            kind, x, y, w, h = map(float, line.split()[:5])
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": int(kind), "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
    described = [{"id": i, "width": w, "height": h} for i, (w, h) in enumerate(sizes)]
    return {"images": described, "annotations": annotations, "categories": [{"id": i} for i in range(classes)]}


def ratio(args: argparse.Namespace) -> dict:
    """The INT8 model against the float one in one engine: the share of the mAP it keeps, and of the time it takes, run in turn."""
    engines = {model: open_engine(args.engine, model, args.threads) for model in (args.model, args.int8)}
    pixels = np.random.default_rng(0).random(engines[args.model].shape, dtype=np.float32)
    times_ms = {model: [] for model in engines}
    for run in range(5 + args.runs):
        for model, engine in engines.items():
            started = time.perf_counter()
            engine.run(pixels)
            if run >= 5:
                times_ms[model].append(1e3 * (time.perf_counter() - started))
    median_ms = {model: float(np.median(times)) for model, times in times_ms.items()}
    found = {model: val(argparse.Namespace(**vars(args) | {"model": model}))["map_50_95"] for model in engines}
    return {
        "engine": args.engine,
        "map_50_95": found,
        "map_kept": found[args.int8] / found[args.model],
        "median_ms": median_ms,
        "time_share": median_ms[args.int8] / median_ms[args.model],
    }


def val(args: argparse.Namespace) -> dict:
    import contextlib
    import io

    import yaml
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    stated = yaml.safe_load(Path(args.data).read_text())
    paths = images(Path(args.data).parent / stated.get("path", ".") / stated["val"])
    head, engine = Head(args.model), open_engine(args.engine, args.model, args.threads)
    found, sizes = [], []
    started = time.perf_counter()
    for number, path in enumerate(paths):
        pixels, scale, padding, size = head.letterbox(path)
        sizes.append(size)
        boxes, scores, classes = suppress(*head.candidates(engine.run(pixels)[0]))
        boxes = (boxes - np.array(padding * 2)) / scale
        boxes = boxes.clip(0, np.array(size * 2))
        boxes[:, 2:] -= boxes[:, :2]
        for box, score, kind in zip(boxes.tolist(), scores.tolist(), classes.tolist()):
            found.append({"image_id": number, "category_id": kind, "bbox": box, "score": score})
    seconds = time.perf_counter() - started
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = ground_truth(paths, sizes, len(stated["names"]))
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    record = {"model": args.model, "images": len(paths), "images_per_s": len(paths) / seconds}
    return record | {"map_50_95": float(judge.stats[0]), "map_50": float(judge.stats[1])}


def is_tail(node, readers: dict[str, list]) -> bool:
    """Whether no convolution reads what the node gives, but for the projection of distances."""
    pending, seen = [node], set()
    while pending:
        for output in pending.pop().output:
            for reader in readers.get(output, []):
                if reader.op_type == "Conv" and "/dfl/" not in reader.name:
                    return False
                if reader.name not in seen:
                    seen.add(reader.name)
                    pending.append(reader)
    return True


def quantize_onnxruntime(args: argparse.Namespace, head: Head, paths: list[Path]) -> None:
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    methods = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}
    methods["percentile"] = CalibrationMethod.Percentile
    with tempfile.TemporaryDirectory() as folder:
        prepared = f"{folder}/prepared.onnx"
        model = onnx.load(args.model)
        if max(o.version for o in model.opset_import if not o.domain) < 13:
            model = onnx.version_converter.convert_version(model, 13)
        onnx.save(model, prepared)
        quant_pre_process(prepared, prepared)
        graph = onnx.load(prepared).graph
        readers: dict[str, list] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        tail = [n.name for n in graph.node if (n.op_type != "Conv" or "/dfl/" in n.name) and is_tail(n, readers)]

        class Reader:
            def __init__(self):
                self.left = iter(paths)

            def get_next(self):
                path = next(self.left, None)
                return path and {graph.input[0].name: head.letterbox(path)[0]}

        quantize_static(
            prepared,
            args.out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=methods[args.by],
            nodes_to_exclude=tail if args.float_tail else [],
        )


def quantize_nncf(args: argparse.Namespace, head: Head, paths: list[Path]) -> None:
    import nncf
    import onnx

    model = onnx.load(args.model)
    name = model.graph.input[0].name
    data = nncf.Dataset(paths, lambda path: {name: head.letterbox(path)[0]})
    readers: dict[str, list] = {}
    for node in model.graph.node:
        for value in node.input:
            readers.setdefault(value, []).append(node)
    tail = [n.name for n in model.graph.node if n.op_type != "Conv" and is_tail(n, readers)]
    ignored = nncf.IgnoredScope(names=tail) if args.float_tail else None
    made = nncf.quantize(
        model, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(paths), ignored_scope=ignored
    )
    onnx.save(made, args.out)


def quantize(args: argparse.Namespace) -> dict:
    head, started = Head(args.model), time.perf_counter()
    every = images(args.images)
    paths = every[:: max(1, len(every) // args.n)][: args.n]
    (quantize_nncf if args.by == "nncf" else quantize_onnxruntime)(args, head, paths)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"out": args.out, "images": len(paths), "wall_s": time.perf_counter() - started, "peak_rss_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for verb, what in (("bench", bench), ("quantize", quantize), ("val", val), ("ratio", ratio)):
        arguments = verbs.add_parser(verb)
        arguments.set_defaults(run=what)
        arguments.add_argument("model")
        arguments.add_argument("--json", type=Path)
        if verb == "quantize":
            arguments.add_argument("out")
            arguments.add_argument("--by", choices=["minmax", "entropy", "percentile", "nncf"], default="minmax")
            arguments.add_argument("--images", type=Path, required=True)
            arguments.add_argument("-n", type=int, default=100)
            arguments.add_argument("--float-tail", action="store_true")
            continue
        engines = ["onnxruntime", "openvino", "openvino-bf16"]
        arguments.add_argument("--engine", choices=engines, default="onnxruntime")
        arguments.add_argument("--threads", type=int, default=2)
        if verb == "ratio":
            arguments.add_argument("int8")
        if verb != "val":
            arguments.add_argument("--runs", type=int, default=20)
        if verb != "bench":
            arguments.add_argument("--data", required=True)
    args = parser.parse_args()
    text = json.dumps(args.run(args), indent=1)
    print(text)
    if args.json:
        args.json.write_text(text)


if __name__ == "__main__":
    main()
