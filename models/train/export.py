"""From trained weights to models/nano: the ONNX export in the layout of a model hub, with float16 weights.

    python export.py <tokenizer folder> <checkpoint> <work> <out>

<work>/trained becomes a folder that transformers loads (float32, of the values that float16 holds), <work>/torch its export by
models/scripts/build.py. In <out> the large weights are stored as float16 and cast to float32 by the graph, so that the graph computes in
float32 and the files have half the size; what the exporter noted of its own folders is taken out.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
SMALL = 1024
"""Bytes of float32; weights below stay as they are."""
SETTINGS = [
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json",
]  # fmt: skip


def trained(tokenizer: Path, checkpoint: Path, out: Path) -> None:
    """A checkpoint in float32 with everything that transformers and qwenc want beside it."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.float() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((checkpoint / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    end = config["text_config"]["eos_token_id"]
    (out / "generation_config.json").write_text(json.dumps({"eos_token_id": end, "do_sample": False}, indent=2) + "\n")
    for name in SETTINGS:
        shutil.copyfile(tokenizer / name, out / name)


def halve(model: onnx.ModelProto) -> None:
    """Initializers of float32 become float16 with a Cast behind."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.nbytes < SMALL:
            continue
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue  # folded by the exporter, not a weight
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name + ".f16"))
        casts.append(helper.make_node("Cast", [name + ".f16"], [name], name=name + ".cast", to=TensorProto.FLOAT))
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def strip(model: onnx.ModelProto) -> None:
    """What only the exporter needs: notes on nodes and values, shapes of what lies between."""
    def clean(graph: onnx.GraphProto) -> None:
        del graph.metadata_props[:]
        for item in [*graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info]:
            del item.metadata_props[:]
            item.doc_string = ""
        del graph.value_info[:]
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    clean(attribute.g)

    del model.metadata_props[:]
    clean(model.graph)


def main() -> None:
    tokenizer, checkpoint, work, out = map(Path, sys.argv[1:5])
    for stale in ("trained", "checkpoint", "torch", "torch_q4", "work"):
        shutil.rmtree(work / stale, ignore_errors=True)  # build.py keeps what is there
    trained(tokenizer, checkpoint, work / "trained")
    subprocess.run([sys.executable, SCRIPTS / "build.py", work, "--from", work / "trained", "--exporters", "torch"], check=True)
    (out / "onnx").mkdir(parents=True, exist_ok=True)
    for name in ["config.json", "generation_config.json", *SETTINGS]:
        shutil.copyfile(work / "trained" / name, out / name)
    for source in sorted((work / "torch/onnx").glob("*.onnx")):
        model = onnx.load(source)
        halve(model)
        strip(model)
        target = out / "onnx" / source.name
        data = target.with_name(target.name + "_data")
        for stale in (target, data):
            stale.unlink(missing_ok=True)  # onnx appends to data that is there
        onnx.save_model(model, target, save_as_external_data=True, location=data.name, size_threshold=SMALL)
        print(f"{target}: {target.stat().st_size + data.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
