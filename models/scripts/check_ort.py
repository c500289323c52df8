"""Runs a decoder on ONNX Runtime's CPU provider against golden files of `qwenc verify`.

    python check_ort.py <decoder.onnx> [--embed embed.onnx] <golden.safetensors>...

Prints the largest difference of a logit for every golden file. States are zeros at first, with caches of length 0, and
every `present...` goes into the `past...` of the same name. Inputs are bound by name, whatever the exporter.
"""

import argparse
import re

import numpy as np
import onnxruntime as ort
from safetensors.numpy import load_file

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


def session(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def key(name: str) -> str | None:
    """What a state's name says apart from past or present; None for other inputs."""
    found = re.match(r"(?:input\.|output\.)?(?:past_key_values|past|present)[._](.+)$", name)
    return found and found[1]


def run(decoder, embed, head_dim: int, golden) -> float:
    ids, splits = golden["input_ids"], golden["splits"]
    expected = dict(zip(golden["logit_positions"].tolist(), golden["logits"], strict=True))
    values = {}
    for port in decoder.get_inputs():
        if key(port.name):
            sizes = [1 if "batch" in str(size) else size for size in port.shape]
            cache = port.name.endswith(("key", "value", "keys", "values"))
            if cache:
                sizes = [*sizes[:2], 0, sizes[3] if isinstance(sizes[3], int) else head_dim]
            values[key(port.name)] = np.zeros(sizes, TYPES[port.type])

    past, worst = 0, 0.0
    for count in splits.tolist():
        call = ids[past : past + count][None]
        feeds = {}
        for port in decoder.get_inputs():
            name, dtype = port.name, TYPES[port.type]
            if name == "input_ids":
                feeds[name] = call
            elif name == "inputs_embeds":
                feeds[name] = embed.run(["inputs_embeds"], {"input_ids": call})[0].astype(dtype)
            elif name == "attention_mask":
                feeds[name] = np.ones((1, past + count), np.int64)
            elif name == "position_ids":
                axes = [port.shape[0]] if len(port.shape) == 3 else []
                feeds[name] = np.broadcast_to(np.arange(past, past + count), [*axes, 1, count]).copy()
            elif name == "num_logits_to_keep":
                feeds[name] = np.array(0, np.int64)
            else:
                feeds[name] = values[key(name)]
        names = [output.name for output in decoder.get_outputs()]
        outputs = dict(zip(names, decoder.run(names, feeds), strict=True))
        for row, logits in enumerate(outputs.pop("logits")[0].astype(np.float32)):
            if past + row in expected:
                worst = max(worst, float(np.abs(logits - expected[past + row]).max()))
        values = {key(name): value for name, value in outputs.items()}
        past += count
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decoder")
    parser.add_argument("golden", nargs="+")
    parser.add_argument("--embed")
    parser.add_argument("--head-dim", type=int, default=32, help="width of caches whose graph only names it")
    args = parser.parse_args()
    decoder = session(args.decoder)
    embed = session(args.embed) if args.embed else None
    for path in args.golden:
        print(f"{args.decoder} {path}: {run(decoder, embed, args.head_dim, load_file(path)):.2e}")


if __name__ == "__main__":
    main()
