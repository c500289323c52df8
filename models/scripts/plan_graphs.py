"""Graphs of any Qwen3.5 shape without weights, for `qwenc compile --weights none`: what would a larger model need?

    python plan_graphs.py 2b|4b|9b|<folder with config.json> <out>

mobius-onnx builds a model's graphs from its configuration alone. Its option --no-weights leaves the weights out of the
file altogether; here each is put back as a reference to a file that does not exist, with its type and shape, as it
stands in a download without the `.data` files.

The sizes of 2b, 4b and 9b: hidden size and layers are published; what is not is assumed in the ratio of the others.
"""

import argparse
import copy
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

MODELS = Path(__file__).resolve().parent.parent
SETTINGS = MODELS / "tiny/genai015"
MISSING = "weights-that-are-not-here.data"

SHAPES = {
    "2b": dict(hidden_size=2048, intermediate_size=6144, num_hidden_layers=24),
    "4b": dict(
        hidden_size=2560, intermediate_size=9216, num_hidden_layers=32,
        num_attention_heads=16, num_key_value_heads=4, linear_num_value_heads=32,
    ),
    "9b": dict(
        hidden_size=4096, intermediate_size=12288, num_hidden_layers=32,
        num_attention_heads=16, num_key_value_heads=4, linear_num_value_heads=32,
    ),
}  # fmt: skip


def configuration(shape: str) -> dict:
    if shape not in SHAPES:
        return json.loads((Path(shape) / "config.json").read_text())
    config = copy.deepcopy(json.loads((MODELS / "qwen3_5_0p8b_config.json").read_text()))
    text = config["text_config"]
    text |= SHAPES[shape]
    text["layer_types"] = (["linear_attention"] * 3 + ["full_attention"]) * (text["num_hidden_layers"] // 4)
    config["vision_config"]["out_hidden_size"] = text["hidden_size"]
    return config


def wanted(graph: onnx.GraphProto) -> list[str]:
    """Names that a graph reads and does not define, in order; bodies of its nodes (`Scan`) read from around them, too."""
    known = {port.name for port in graph.input} | {tensor.name for tensor in graph.initializer}
    names = []
    for node in graph.node:
        names += [name for name in node.input if name and name not in known]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names += [name for name in wanted(attribute.g) if name not in known]
        known.update(node.output)
    return list(dict.fromkeys(names))


def types(graph: onnx.GraphProto) -> dict:
    """Types of values by name, those that bodies state among them."""
    found = {}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= types(attribute.g)
    return found | {info.name: info.type.tensor_type for info in graph.value_info}


def restore_references(path: Path) -> int:
    """Declares every weight that the graph names and does not have. Returns their bytes."""
    model = onnx.load(path)
    graph = model.graph
    stated = types(graph)
    total = 0
    for name in wanted(graph):
        tensor = onnx.TensorProto(name=name, data_type=stated[name].elem_type)
        tensor.dims.extend(dim.dim_value for dim in stated[name].shape.dim)
        size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for dim in tensor.dims:
            size *= dim
        tensor.raw_data = b""
        set_external_data(tensor, MISSING, offset=total, length=size)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        graph.initializer.append(tensor)
        total += size
    # What mobius did store (tables of rotation angles) stays in files of its own.
    small = [tensor for tensor in graph.initializer if tensor.HasField("raw_data") and len(tensor.raw_data) >= 1024]
    data = path.with_name("model.onnx.data")
    with data.open("wb") as file:
        for tensor in small:
            offset, length = file.tell(), len(tensor.raw_data)
            file.write(tensor.raw_data)
            set_external_data(tensor, data.name, offset=offset, length=length)
            tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        for file in SETTINGS.iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        (Path(folder) / "config.json").write_text(json.dumps(configuration(args.shape)))
        build = ["mobius", "build", "--config", folder, str(args.out), "--no-weights", "--dtype", "f32"]
        subprocess.run([*build, "--ep", "webgpu", "--runtime", "ort-genai"], check=True)
        shutil.copy(Path(folder) / "config.json", args.out)
    for part in ("decoder", "embedding", "vision_encoder"):
        path = args.out / part / "model.onnx"
        if path.exists():
            print(f"{path}: {restore_references(path) / 1e9:.2f} GB of weights stated, none stored")


if __name__ == "__main__":
    main()
