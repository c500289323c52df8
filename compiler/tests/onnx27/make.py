"""Stores ONNX's own node tests of the operators of opset 27 as models with their tensors in the metadata.

Needs the Python packages onnx 1.23 and numpy. The tests are those that `onnx.backend.test` makes for LinearAttention and
CausalConvWithState, inputs and outputs as they are there: keys `in:NAME` and `out:NAME`, values `DTYPE DIM,DIM,... HEX`
in little-endian order.
"""

import pathlib

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

HERE = pathlib.Path(__file__).parent

for case in collect_testcases(None):
    model = case.model
    op = model.graph.node[0].op_type
    if len(model.graph.node) != 1 or op not in ("LinearAttention", "CausalConvWithState"):
        continue
    ((inputs, outputs),) = case.data_sets
    for prefix, ports, values in [("in", model.graph.input, inputs), ("out", model.graph.output, outputs)]:
        for port, value in zip(ports, values, strict=True):
            dims = ",".join(map(str, value.shape))
            text = f"{value.dtype.name} {dims} {np.ascontiguousarray(value).tobytes().hex()}"
            model.metadata_props.add(key=f"{prefix}:{port.name}", value=text)
    onnx.save(model, HERE / f"{case.name.removeprefix('test_')}.onnx")
