"""Rewrites a float16 graph as a bfloat16 one.

    python to_bf16.py [--all] <in.onnx> <out.onnx>

Every float16 initializer, input, output and Cast becomes bfloat16. An initializer that bfloat16 does not hold exactly
(norms and convolution taps, since bfloat16 has fewer bits) becomes float32 behind a Cast to bfloat16, so that one golden
serves this graph too: the model that is stored is still the same. With --all, what is float32 becomes bfloat16 as well. External data lies in <out.onnx>_data.
"""

import argparse
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hub_layout import lay_out

F16, BF16, F32 = TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT


def tensor(name: str, values: np.ndarray, kind: int) -> TensorProto:
    if kind == BF16:
        raw = values.astype(ml_dtypes.bfloat16).tobytes()
    else:
        raw = values.astype(np.float32).tobytes()
    return helper.make_tensor(name, kind, values.shape, raw, raw=True)


def exact(values: np.ndarray) -> bool:
    return np.array_equal(values.astype(ml_dtypes.bfloat16).astype(np.float32), values.astype(np.float32))


def convert(model: onnx.ModelProto, narrow: set[int]) -> None:
    graph = model.graph
    casts = []
    initializers = []
    for initializer in graph.initializer:
        if initializer.data_type not in narrow:
            initializers.append(initializer)
            continue
        values = numpy_helper.to_array(initializer)
        name = initializer.name
        if exact(values):
            initializers.append(tensor(name, values, BF16))
        else:
            initializers.append(tensor(f"{name}.f32", values, F32))
            casts.append(helper.make_node("Cast", [f"{name}.f32"], [name], f"{name}/Cast", to=BF16))
    del graph.initializer[:]
    graph.initializer.extend(initializers)

    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i in narrow:
                attribute.i = BF16
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in narrow:
                values = numpy_helper.to_array(attribute.t)
                assert exact(values), f"{node.name}: a constant that bfloat16 does not hold"
                attribute.t.CopyFrom(tensor(attribute.t.name, values, BF16))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in narrow:
            value.type.tensor_type.elem_type = BF16

    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    model = onnx.load(args.source)
    convert(model, {F16, F32} if args.all else {F16})
    args.target.parent.mkdir(parents=True, exist_ok=True)
    lay_out(model, args.target)
    print(args.target)


if __name__ == "__main__":
    main()
