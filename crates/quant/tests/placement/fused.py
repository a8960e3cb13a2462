"""Loads a quantized model in an engine, runs it once, and counts what the engine runs in INT8: fused.py ENGINE MODEL."""

import json
import os
import sys
import tempfile

import numpy


def onnxruntime(path):
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        image = session.get_inputs()[0]
        outputs = session.run(None, {image.name: numpy.full(image.shape, 0.5, numpy.float32)})
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    count = lambda *types: sum(node.op_type in types for node in nodes)
    return outputs, {
        "int8_convolutions": count("QLinearConv"),
        "float_convolutions": count("Conv", "FusedConv", "NhwcFusedConv"),
        "loose_silus": count("QuickGelu", "Silu", "Swish"),
        "int8_sigmoids": count("QLinearSigmoid"),
        "int8_products": count("QLinearMul"),
        "int8_sums": count("QLinearAdd"),
    }


def openvino(path):
    import openvino

    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", hints)
    shape = list(compiled.inputs[0].shape)
    outputs = list(compiled([numpy.full(shape, 0.5, numpy.float32)]).values())
    count = {"int8_convolutions": 0, "float_convolutions": 0, "loose_silus": 0}
    for node in compiled.get_runtime_model().get_ordered_ops():
        said = {key: str(value.astype(str)) for key, value in node.get_rt_info().items()}
        is_int8 = said["runtimePrecision"] in ("u8", "i8")
        if said["layerType"] in ("Convolution", "GroupConvolution"):
            count["int8_convolutions" if is_int8 else "float_convolutions"] += 1
        elif said["layerType"] in ("Eltwise", "Subgraph"):
            # The product of a SiLU as exporters and the tests name it; where it is fused, the convolution lists it.
            names = said["originalLayersNames"].split(",")
            count["loose_silus"] += sum("act/Mul" in name or name.startswith("silu") for name in names)
    return outputs, count


outputs, count = {"onnxruntime": onnxruntime, "openvino": openvino}[sys.argv[1]](sys.argv[2])
assert all(numpy.isfinite(y).all() for y in outputs), "an output is not finite"
print(json.dumps(count))
