"""Gradients by PyTorch, in double precision.

usage: torch_gradients.py FOLDER...

Each folder holds model.onnx, whose inputs lie beside it as x0, x1, ... and whose outputs' gradients as dy0, dy1, ... (raw
float32). Where a file of_run lies there too, BatchNormalization standardises by the statistics of its input. For every float initializer that the outputs depend on, its gradient is written to FOLDER/gradients/NAME (raw float64),
with every character of the name that is not a letter or a digit as `_`.
"""

import os
import re
import sys

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


def windows(x, a, value=0.0):
    """Pads as the attributes say: F.pad takes the last axis first."""
    top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
    return F.pad(x, (left, right, top, bottom), value=value)


def conv(a, x, w, b=None):
    return F.conv2d(windows(x, a), w, b, a.get("strides", [1, 1]), 0, a.get("dilations", [1, 1]), a.get("group", 1))


def conv_transpose(a, x, w, b=None):
    whole = F.conv_transpose2d(x, w, b, a["strides"], 0, 0, a["group"], a["dilations"])
    top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
    return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]


def batch_normalization(a, x, scale, bias, mean, var):
    if a["of_run"]:
        return F.batch_norm(x, None, None, scale, bias, True, 0.0, a["epsilon"])
    return F.batch_norm(x, mean.detach(), var.detach(), scale, bias, False, 0.0, a["epsilon"])


def max_pool(a, x):
    return F.max_pool2d(windows(x, a, -torch.inf), a["kernel_shape"], a["strides"], 0, a["dilations"])


def average_pool(a, x):
    return F.avg_pool2d(x, a["kernel_shape"], a["strides"], a["pads"][:2], False, bool(a["count_include_pad"]))


def resize(a, x, _roi=None, scales=None):
    factors = scales.tolist()[2:]
    if a["mode"] == b"nearest":
        return x.repeat_interleave(int(factors[0]), 2).repeat_interleave(int(factors[1]), 3)
    return F.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=False)


def slices(_a, x, starts, ends, axes, steps):
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist()):
        index = torch.arange(x.shape[axis])[slice(start, end, step)]
        x = x.index_select(axis, index)
    return x


def gemm(a, x, y, z=0.0):
    x = x.T if a["transA"] else x
    y = y.T if a["transB"] else y
    return a["alpha"] * (x @ y) + a["beta"] * z


class Quantized:
    """What QuantizeLinear gives: the number itself, to be rounded with a gradient where it is dequantized."""

    def __init__(self, x, zero_point):
        self.x, self.zero_point = x, zero_point


class Round(torch.autograd.Function):
    """Rounds, with the gradient of what it rounds."""

    @staticmethod
    def forward(_context, x):
        return torch.round(x)

    @staticmethod
    def backward(_context, gradient):
        return gradient


def dequantize(_a, quantized, scale, _zero_point=None):
    ends = torch.iinfo(quantized.zero_point.dtype)
    zero = int(quantized.zero_point)
    lowest, highest = ends.min - zero, ends.max - zero
    steps = Round.apply(quantized.x / scale)
    # As torch.fake_quantize_per_tensor_affine: a number that rounds to the last integer is inside (not so for torch.clamp).
    inside = (steps >= lowest) & (steps <= highest)
    return scale * torch.where(inside, steps, steps.detach().clamp(lowest, highest))


OPERATORS = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DequantizeLinear": dequantize,
    "Div": lambda a, x, y: x / y,
    "Gemm": gemm,
    "HardSwish": lambda a, x: F.hardswish(x),
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a["alpha"]),
    "MatMul": lambda a, x, y: x @ y,
    "MaxPool": max_pool,
    "Mul": lambda a, x, y: x * y,
    "PRelu": lambda a, x, y: torch.where(x < 0, x * y, x),
    "QuantizeLinear": lambda a, x, _scale, zero_point: Quantized(x, zero_point),
    "ReduceMean": lambda a, x: x.mean(a["axes"], bool(a["keepdims"])),
    "Relu": lambda a, x: F.relu(x),
    "Reshape": lambda a, x, shape: x.reshape(shape.tolist()),
    "Resize": resize,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Slice": slices,
    "Softmax": lambda a, x: torch.softmax(x, a["axis"]),
    "Split": lambda a, x, sizes: torch.split(x, sizes.tolist(), a["axis"]),
    "Sub": lambda a, x, y: x - y,
    "Transpose": lambda a, x: x.permute(a["perm"]),
}


def gradients(folder):
    graph = onnx.load(os.path.join(folder, "model.onnx")).graph
    of_run = os.path.exists(os.path.join(folder, "of_run"))
    values, parameters = {}, {}
    for tensor in graph.initializer:
        value = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
        if value.dtype == torch.float32:
            value = value.double().requires_grad_()
            parameters[tensor.name] = value
        values[tensor.name] = value

    def read(name, info):
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        raw = np.fromfile(os.path.join(folder, name), dtype=np.float32)
        return torch.from_numpy(raw.reshape(shape).astype(np.float64))

    for i, info in enumerate(graph.input):
        values[info.name] = read(f"x{i}", info)
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        attributes["of_run"] = of_run
        inputs = [values.get(name) for name in node.input]
        outputs = OPERATORS[node.op_type](attributes, *inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        values.update(zip(node.output, outputs))
    loss = sum((values[info.name] * read(f"dy{i}", info)).sum() for i, info in enumerate(graph.output))
    loss.backward()
    os.makedirs(os.path.join(folder, "gradients"), exist_ok=True)
    for name, value in parameters.items():
        if value.grad is not None:
            file = re.sub("[^0-9A-Za-z]", "_", name)
            value.grad.numpy().tofile(os.path.join(folder, "gradients", file))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[1:]:
        gradients(each)
