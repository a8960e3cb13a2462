"""Runs two models on the same random inputs and prints the largest difference of their outputs.

Usage: compare_with_onnxruntime.py before.onnx after.onnx
Prints one number: max over outputs of max |after - before| / max |before|.
"""
import sys

import numpy as np
import onnxruntime as ort


def session(path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


before, after = session(sys.argv[1]), session(sys.argv[2])
rng = np.random.default_rng(0)
feed = {i.name: rng.random(i.shape, dtype=np.float32) for i in before.get_inputs()}
names = [o.name for o in before.get_outputs()]
assert names == [o.name for o in after.get_outputs()], "output names differ"
assert list(feed) == [i.name for i in after.get_inputs()], "input names differ"
worst = 0.0
for a, b in zip(before.run(names, feed), after.run(names, feed)):
    assert a.shape == b.shape, f"{a.shape} != {b.shape}"
    assert np.isfinite(a).all() and np.isfinite(b).all() and np.abs(a).max() > 0, "outputs are not usable"
    worst = max(worst, float(np.abs(b - a).max() / np.abs(a).max()))
print(worst)
