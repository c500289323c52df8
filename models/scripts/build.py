"""From a checkpoint to the folders that `qwenc compile` takes, with every exporter: one command.

    python build.py <out> --from <folder>      a downloaded Qwen3.5 folder, as it is (sharded, bfloat16, links, mtp.*)
    python build.py <out> --make full|tiny     random weights on a 4-bit grid, by make_model.py

    --exporters torch,genai,mobius             which (all by default)
    --golden                                   also transformers' logits, as golden files (3 to 14 GB of memory at 0.8B)

Writes

    <out>/checkpoint       the folder that the exporters read: files instead of links, without multi-token prediction
    <out>/torch            hub layout, float32: torch.onnx (embedding, decoder, vision encoder)
    <out>/torch_q4         the same with 4-bit weights by ONNX Runtime, and the float32 vision encoder
    <out>/genai            hub layout, float32: onnxruntime-genai's decoder, torch's embedding and vision encoder
    <out>/genai_int4       the same with the builder's int4
    <out>/mobius           decoder/, embedding/, vision_encoder/, float32: mobius-onnx
    <out>/golden           text, split, long and image goldens for `qwenc verify --golden`

At 0.8B the whole takes about 25 GB of disk while it runs. `genai` and `genai_int4` need torch's graphs and so make them, too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
NEEDED = ["config.json", "tokenizer.json", "tokenizer_config.json"]
SETTINGS = [
    *NEEDED,
    "generation_config.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
]
EXPORTERS = ["torch", "genai", "mobius"]
GRAPHS = ["embed_tokens", "decoder_model_merged", "vision_encoder"]


def run(*command, **environment) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, env=os.environ | environment)


def script(name: str, *arguments) -> None:
    run(sys.executable, HERE / name, *arguments)


def take_checkpoint(source: Path, out: Path) -> None:
    """A copy of a downloaded folder that every exporter can read.

    - Weights are plain files in float32, which is exact: the builder of onnxruntime-genai adds the 1 of the norms' `1 + w`
      in the type that it finds, and bfloat16 would round it. (A hub's cache holds links, which mobius refuses, too.)
    - Multi-token prediction is gone, weights (`mtp.*`) and configuration: exporters drop it, and the builder refuses a
      configuration that promises it.
    """
    missing = [name for name in NEEDED if not (source / name).is_file()]
    weights = sorted(source.glob("*.safetensors"))
    if missing or not weights:
        sys.exit(f"{source} is no checkpoint: it lacks {', '.join(missing) or '*.safetensors'}")
    config = json.loads((source / "config.json").read_text())
    if config.get("model_type") != "qwen3_5":
        sys.exit(f"{source} holds a model of type {config.get('model_type')}, not qwen3_5")
    index = source / "model.safetensors.index.json"
    if index.is_file():
        wanted = set(json.loads(index.read_text())["weight_map"].values())
        absent = wanted - {path.name for path in weights}
        if absent:
            sys.exit(f"{source} lacks {', '.join(sorted(absent))}: the download is not complete")

    out.mkdir(parents=True, exist_ok=True)
    weight_map, total = {}, 0
    for path in weights:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items() if not name.startswith("mtp.")}
        if tensors:
            save_file(tensors, out / path.name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, path.name)
        total += sum(tensor.nbytes for tensor in tensors.values())
    if index.is_file():
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)
        (out / index.name).write_text(text)
    for name in SETTINGS:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
        if "mtp_num_hidden_layers" in part:
            part["mtp_num_hidden_layers"] = 0
        for key in ("dtype", "torch_dtype"):
            if part.get(key):
                part[key] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2))


def hub(checkpoint: Path, folder: Path, graphs: dict[str, Path]) -> None:
    """A hub folder of graphs with their data. (Copies: onnx and qwenc refuse data with several hard links.)"""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for name in SETTINGS:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    for name, source in graphs.items():
        for file in source.parent.glob(f"{source.name}*"):
            shutil.copyfile(file, folder / "onnx" / (name + file.name.removeprefix(source.stem)))


def torch(checkpoint: Path, out: Path, work: Path) -> None:
    if all((out / "torch/onnx" / f"{name}.onnx").is_file() for name in GRAPHS):
        return
    script("export_torch.py", checkpoint, work / "torch")
    hub(checkpoint, out / "torch", {name: work / "torch" / f"{name}.onnx" for name in GRAPHS})
    script("quantize.py", out / "torch", out / "torch_q4")
    hub(checkpoint, out / "torch_q4", {"vision_encoder": work / "torch/vision_encoder.onnx"})


def genai(checkpoint: Path, out: Path, work: Path) -> None:
    torch(checkpoint, out, work)
    shared = {name: out / "torch/onnx" / f"{name}.onnx" for name in ("embed_tokens", "vision_encoder")}
    variants = {"genai": "fp32_webgpu_embeds", "genai_int4": "int4_webgpu_embeds_acc1"}
    run(HERE / "make_genai.sh", checkpoint, work / "genai", *variants.values())
    for folder, variant in variants.items():
        # The builder calls external data by its own name, which a link must keep.
        decoder = work / "genai" / variant / "model.onnx"
        script("hub_layout.py", checkpoint, out / folder, f"decoder_model_merged={decoder}")
        hub(checkpoint, out / folder, shared)


def mobius(checkpoint: Path, out: Path, work: Path) -> None:
    run(HERE / "make_mobius.sh", checkpoint, work / "mobius", "f32_webgpu")
    shutil.rmtree(out / "mobius", ignore_errors=True)
    shutil.move(work / "mobius/f32_webgpu", out / "mobius")
    for name in SETTINGS:
        if (checkpoint / name).is_file() and not (out / "mobius" / name).exists():
            shutil.copyfile(checkpoint / name, out / "mobius" / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--from", dest="source", type=Path)
    origin.add_argument("--make", choices=["full", "tiny"])
    parser.add_argument("--exporters", default=",".join(EXPORTERS))
    parser.add_argument("--golden", action="store_true")
    args = parser.parse_args()
    chosen = args.exporters.split(",")
    if unknown := set(chosen) - set(EXPORTERS):
        sys.exit(f"unknown exporters: {', '.join(unknown)}; there are {', '.join(EXPORTERS)}")

    checkpoint, work = args.out / "checkpoint", args.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    if args.make:
        script("make_model.py", args.make, checkpoint)
    else:
        take_checkpoint(args.source, checkpoint)
    for exporter in EXPORTERS:
        if exporter in chosen:
            {"torch": torch, "genai": genai, "mobius": mobius}[exporter](checkpoint, args.out, work)
    if args.golden:
        script("golden.py", checkpoint, work / "golden.safetensors")
        script("verify_golden.py", work / "golden.safetensors", args.out / "golden")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
