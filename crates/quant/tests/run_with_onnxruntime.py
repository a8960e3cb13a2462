"""Loads a quantized model in ONNX Runtime, runs it once, and reports the operators of the optimized graph."""

import os
import re
import sys
import tempfile

import numpy
import onnxruntime

path, target = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    optimized = os.path.join(folder, "optimized.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = optimized
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    outputs = session.run(None, {image.name: numpy.full(image.shape, 0.5, numpy.float32)})
    assert all(numpy.isfinite(y).all() for y in outputs), "an output is not finite"
    names = [b"QLinearConv", b"FusedConv", b"QLinearSigmoid", b"QLinearMul", b"QLinearAdd", b"QLinearConcat"]
    with open(optimized, "rb") as file:
        data = file.read()
    # A node's op_type is field 4 of NodeProto: tag 0x22, length, text.
    count = {n.decode(): len(re.findall(re.escape(bytes([0x22, len(n)]) + n), data)) for n in names}
    print(count, os.path.getsize(path), "bytes")
    if target.startswith("onnxruntime"):
        assert count["QLinearConv"] > 0, "no QLinearConv was formed"
