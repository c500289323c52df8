"""Lays exported graphs out as a model hub repository does:

    <out>/config.json, tokenizer.json, chat_template.jinja, preprocessor_config.json, ...
    <out>/onnx/<name>.onnx with its external data in <name>.onnx_data

    python hub_layout.py <hf_folder> <out> decoder_model_merged=<decoder.onnx> embed_tokens=<embed.onnx> vision_encoder=<vision.onnx>
"""

import argparse
import shutil
from pathlib import Path

import onnx

SETTINGS = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
]


def lay_out(model: onnx.ModelProto, target: Path) -> None:
    """Writes one graph with tensors of 1 KiB and more in one external file beside it."""
    data = target.with_name(target.name + "_data")
    for stale in (target, data):
        stale.unlink(missing_ok=True)  # onnx appends to external data that exists
    onnx.save_model(
        model, target, save_as_external_data=True, location=data.name, size_threshold=1024
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hf_folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("graphs", nargs="+", metavar="name=path.onnx")
    args = parser.parse_args()

    (args.out / "onnx").mkdir(parents=True, exist_ok=True)
    for name in SETTINGS:
        shutil.copyfile(args.hf_folder / name, args.out / name)
    for graph in args.graphs:
        name, _, source = graph.partition("=")
        lay_out(onnx.load(source), args.out / "onnx" / f"{name}.onnx")
        print(f"{source} -> {args.out}/onnx/{name}.onnx")


if __name__ == "__main__":
    main()
