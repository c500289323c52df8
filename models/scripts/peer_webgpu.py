"""How fast onnxruntime-webgpu runs a decoder of the onnxruntime-genai builder: the peer of `qwenc bench` on one GPU.

    python -m onnxruntime_genai.models.builder -i <checkpoint> -o int4 -p int4 -e webgpu     # 0.15.2
    pip install onnxruntime-webgpu                                                          # 1.27.0
    python peer_webgpu.py int4 [--prefill 512] [--tokens 32] [--runs 5]

Speed does not depend on weights: where the file of weights is missing, it is filled with a pattern. The peer is given its best case:
states stay on the GPU (IO binding), embeddings are looked up beforehand, logits are not brought back, nothing is sampled. One small
state comes back each time, so that a run is over when it is. Medians, least and greatest.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float16)": np.float16, "tensor(float)": np.float32}
# Width of a head of attention, which the graph leaves open.
HEAD_WIDTH = 256
PATTERN = bytes([0x2C]) * (1 << 24)


def fill_in_weights(folder: Path) -> None:
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    ends: dict[str, int] = {}
    for tensor in graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place:
            end = int(place.get("offset", 0)) + int(place["length"])
            ends[place["location"]] = max(end, ends.get(place["location"], 0))
    for name, size in ends.items():
        if not (folder / name).exists():
            with (folder / name).open("wb") as file:
                for start in range(0, size, len(PATTERN)):
                    file.write(PATTERN[: size - start])


class Decoder:
    def __init__(self, folder: Path):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        providers = ["WebGpuExecutionProvider", "CPUExecutionProvider"]
        self.session = ort.InferenceSession(folder / "model.onnx", options, providers=providers)
        self.inputs = {port.name: port for port in self.session.get_inputs()}
        self.outputs = [port.name for port in self.session.get_outputs()]
        self.states = [name for name in self.inputs if name.startswith("past")]
        self.waited_for = next(name for name in reversed(self.outputs) if "conv" in name)

    def empty(self, name: str) -> np.ndarray:
        sizes = {"batch_size": 1, "past_sequence_length": 0}
        width = next(port.shape[3] for port in self.inputs.values() if port.name.endswith(".key"))
        sizes[width] = HEAD_WIDTH
        port = self.inputs[name]
        return np.zeros([size if isinstance(size, int) else sizes[size] for size in port.shape], TYPES[port.type])

    def host(self, name: str, tokens: int, past: int) -> np.ndarray:
        port = self.inputs[name]
        if name == "attention_mask":
            value = np.ones((1, past + tokens))
        elif name == "position_ids":
            value = np.broadcast_to(np.arange(past, past + tokens), (*port.shape[:-2], 1, tokens))
        elif name == "inputs_embeds":
            value = np.full((1, tokens, port.shape[2]), 0.01)
        else:
            value = np.full((1, tokens), 5)
        return np.ascontiguousarray(value.astype(TYPES[port.type]))

    def run(self, tokens: int, past: int, states: dict | None) -> dict:
        binding = self.session.io_binding()
        for name in self.inputs:
            if name not in self.states:
                binding.bind_cpu_input(name, self.host(name, tokens, past))
            elif states is None:
                binding.bind_cpu_input(name, self.empty(name))
            else:
                binding.bind_ortvalue_input(name, states[name])
        for name in self.outputs:
            binding.bind_output(name, "cpu" if name == self.waited_for else "webgpu", 0)
        self.session.run_with_iobinding(binding)
        values = dict(zip(self.outputs, binding.get_outputs(), strict=True))
        values[self.waited_for].numpy()
        return {name: values[name.replace("past_key_values", "present")] for name in self.states}


def report(what: str, rates: list[float]) -> None:
    print(f"{what}: {statistics.median(rates):.1f} tok/s ({min(rates):.1f} to {max(rates):.1f}, {len(rates)} runs)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    fill_in_weights(args.folder)
    start = time.perf_counter()
    decoder = Decoder(args.folder)
    decoder.run(args.prefill, 0, None)
    print(f"onnxruntime {ort.__version__}: {time.perf_counter() - start:.2f} s to load and for a first prompt", flush=True)
    prefill, decode = [], []
    for _ in range(args.runs + 1):
        start = time.perf_counter()
        states = decoder.run(args.prefill, 0, None)
        prefill.append(args.prefill / (time.perf_counter() - start))
        start = time.perf_counter()
        for past in range(args.prefill, args.prefill + args.tokens):
            states = decoder.run(1, past, states)
        decode.append(args.tokens / (time.perf_counter() - start))
    # The first run warms up.
    report(f"prefill {args.prefill}", prefill[1:])
    report(f"decode at {args.prefill}", decode[1:])


if __name__ == "__main__":
    main()
