"""Runs every model of a folder in ONNX Runtime, without its optimizations: the plain meaning of every operator.

Usage: differential.py FOLDER. NAME.x holds the input of NAME.onnx as float32; its outputs go into NAME.y, one after the
other. NAME.KIND.float.onnx is quantized first, as KIND says, by ONNX Runtime's own tools, into NAME.KIND.onnx. A model that
ONNX Runtime cannot quantize or run has no NAME.y; why is told on stderr.
"""

import logging
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

logging.disable(logging.WARNING)
STATIC = {
    "qdq_u8": dict(quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, per_channel=True),
    "qdq_s8": dict(quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8, per_channel=True),
    "qdq_u16": dict(
        quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt16, extra_options={"UseQDQContribOps": True}
    ),
    "qoperator_u8": dict(quant_format=QuantFormat.QOperator, activation_type=QuantType.QUInt8),
    "qoperator_s8": dict(quant_format=QuantFormat.QOperator, activation_type=QuantType.QInt8, per_channel=True),
}
DYNAMIC = {"dynamic_u8": QuantType.QUInt8, "dynamic_s8": QuantType.QInt8}


class Reader(CalibrationDataReader):
    def __init__(self, name, x):
        self.left = [{name: x}]

    def get_next(self):
        return self.left.pop() if self.left else None


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def quantize(source, target, kind, x):
    if kind in DYNAMIC:
        quantize_dynamic(str(source), str(target), weight_type=DYNAMIC[kind])
        return
    name = onnx.load(source).graph.input[0].name
    quantize_static(str(source), str(target), Reader(name, x), **STATIC[kind])


def main(folder):
    for given in sorted(folder.glob("*.x")):
        path = given.with_suffix(".onnx")
        source = given.with_suffix(".float.onnx")
        try:
            shape = [d.dim_value for d in onnx.load(source if source.exists() else path).graph.input[0].type.tensor_type.shape.dim]
            x = np.fromfile(given, dtype=np.float32).reshape(shape)
            if source.exists():
                quantize(source, path, given.stem.split(".")[-1], x)
            run = session(path)
            outputs = run.run(None, {run.get_inputs()[0].name: x})
        except Exception as error:
            print(given.stem, str(error)[:200].replace("\n", " "), file=sys.stderr)
            continue
        np.concatenate([o.astype(np.float32).ravel() for o in outputs]).tofile(given.with_suffix(".y"))


main(Path(sys.argv[1]))
