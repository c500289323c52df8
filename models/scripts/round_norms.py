"""A checkpoint with the weights that a float16 export of it holds.

    python round_norms.py <hf_folder> <out_folder>

Exporters write the RMS norms' weights as 1 + w. In float16 the sum is rounded, so that the export is another model than
the checkpoint, by some 1e-2 of a logit. This copy of the checkpoint has w such that 1 + w is exact in float16: it
exports to the same float16 graph, and its golden is the graph's own.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def is_offset_norm(name: str) -> bool:
    if "visual" in name or name.endswith("linear_attn.norm.weight"):
        return False
    return name.endswith(("layernorm.weight", "q_norm.weight", "k_norm.weight", "language_model.norm.weight"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    shutil.copytree(args.source, args.target, dirs_exist_ok=True)
    weights = load_file(args.source / "model.safetensors")
    rounded = 0
    for name, weight in weights.items():
        if is_offset_norm(name):
            weights[name] = (1 + weight.astype(np.float32)).astype(np.float16).astype(np.float32) - 1
            rounded += 1
    save_file(weights, args.target / "model.safetensors", metadata={"format": "pt"})
    print(f"{args.target}: {rounded} norms")


if __name__ == "__main__":
    main()
