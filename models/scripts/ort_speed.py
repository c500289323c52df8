"""How fast ONNX Runtime's CPU provider runs nano: the seconds of a prompt and of each token after it, as JSON.

    python ort_speed.py ../nano --threads 2 --word 263 --prompt 128 --tokens 32

States go from outputs to inputs, greedy. What `cargo xtask peers --cpu` runs beside qwenc.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort


def session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def present(past: str) -> str:
    return past.replace("past_key_values", "present").replace("past_", "present_")


def run(decoder, embedder, ids: list[int], tokens: int) -> dict:
    states = {}
    for port in decoder.get_inputs():
        if port.name.startswith("past"):
            # The batch is one, what is known so far is nothing.
            dims = [dim if isinstance(dim, int) else 1 - min(at, 1) for at, dim in enumerate(port.shape)]
            states[port.name] = np.zeros(dims, np.float32)
    outputs = [port.name for port in decoder.get_outputs()]
    feed, past, seconds, found = ids, 0, [], []
    while len(found) <= tokens:
        start = time.perf_counter()
        count = len(feed)
        (embeds,) = embedder.run(None, {"input_ids": np.array([feed], np.int64)})
        places = np.broadcast_to(np.arange(past, past + count), (3, 1, count)).copy()
        mask = np.ones((1, past + count), np.int64)
        feeds = {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": places, **states}
        values = dict(zip(outputs, decoder.run(outputs, feeds), strict=True))
        states = {name: values[present(name)] for name in states}
        found.append(int(values["logits"][0, -1].argmax()))
        seconds.append(time.perf_counter() - start)
        past += count
        feed = found[-1:]
    return {"prefill": seconds[0], "decode": seconds[1:], "tokens": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--word", type=int, default=263, help="the token that the prompt repeats")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    files = [args.model / "onnx" / f"{name}.onnx" for name in ("decoder_model_merged", "embed_tokens")]
    decoder, embedder = [session(file, args.threads) for file in files]
    for _ in range(3):
        # What is new is allocated in the first two, which do not count.
        times = run(decoder, embedder, [args.word] * args.prompt, args.tokens)
    print(json.dumps({"version": ort.__version__, **times}))


if __name__ == "__main__":
    main()
