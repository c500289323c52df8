"""Golden tensors (golden.py) to the golden files that `qwenc verify --golden` reads.

    python verify_golden.py <golden.safetensors> <out_folder>

Writes text (17-token prefill and 5 decode steps), split (10 + 6 + 1, then the 5 steps), long (one 150-token prefill) and
image (pixel values and grid, prefill and 5 steps). Every position is checked.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

METADATA = {"source": "Hugging Face transformers, float32, CPU", "min_cosine": "0.9999"}
STEPS = [1] * 5


def write(golden, path, case, splits, extra=None):
    """One file: `splits` are the lengths of the consecutive calls that feed `input_ids`."""
    ids, logits = golden[f"{case}.input_ids"][0], golden[f"{case}.prefill_logits"][0]
    if f"{case}.decode_tokens" in golden:
        ids = np.concatenate([ids, golden[f"{case}.decode_tokens"][0]])
        logits = np.concatenate([logits, golden[f"{case}.decode_logits"][0]])
    assert sum(splits) == len(ids) == len(logits), (splits, len(ids), len(logits))
    tensors = {
        "input_ids": ids.astype(np.int64),
        "splits": np.array(splits, np.int64),
        "logit_positions": np.arange(len(ids), dtype=np.int64),
        "logits": logits.astype(np.float32),
    } | (extra or {})
    save_file(tensors, path, metadata=METADATA)
    print(path, {name: tensor.shape for name, tensor in tensors.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()

    golden = load_file(args.golden)
    args.out.mkdir(parents=True, exist_ok=True)
    text, long, image = (golden[f"{case}.input_ids"].shape[1] for case in ("text", "long", "image"))
    write(golden, args.out / "text.safetensors", "text", [text, *STEPS])
    write(golden, args.out / "split.safetensors", "text", [10, 6, text - 16, *STEPS])
    write(golden, args.out / "long.safetensors", "long", [long])
    pixels = {
        "pixel_values": golden["image.pixel_values"].astype(np.float32),
        "image_grid_thw": golden["image.grid_thw"].astype(np.int64),
    }
    write(golden, args.out / "image.safetensors", "image", [image, *STEPS], pixels)


if __name__ == "__main__":
    main()
