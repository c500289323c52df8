"""Tables of vision grids and positions of prompts with images, as transformers computes them.

    python vision_tables.py <out_folder>

Writes vision_tables.safetensors (per case `<side>.<merge>.<grids>`: the four tables that the entry point `vision` reads) and
rope_index.safetensors (per case: tokens, grids, positions [3, tokens] and rope_delta). qwenc's runtime is tested against both.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import Qwen3_5Config
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

# (side of the position table, merge size, grids)
TABLES = [
    (48, 2, [(1, 2, 2)]),
    (48, 2, [(1, 10, 34), (1, 6, 4)]),
    (48, 2, [(1, 48, 2), (1, 2, 96)]),
    (8, 2, [(2, 4, 6), (1, 8, 8), (3, 2, 2)]),
    (7, 2, [(1, 14, 12)]),
    (8, 1, [(1, 1, 1), (1, 1, 5), (1, 3, 1)]),
    (6, 3, [(1, 6, 9)]),
    (1, 2, [(1, 4, 4)]),
]
IMAGE, TEXT = 508, 3
# Runs of text tokens, and grids between them (merge size 2).
PROMPTS = {
    "text": [5],
    "one": [4, (1, 4, 6), 6],
    "first": [(1, 2, 2), 3],
    "last": [2, (1, 6, 2)],
    "two": [3, (1, 8, 4), 2, (1, 2, 10), 7],
    "frames": [2, (3, 4, 4), 1],
    "three": [1, (1, 2, 2), 1, (1, 4, 2), 1, (1, 2, 4), 1],
}


def tables():
    found = {}
    for side, merge, grids in TABLES:
        grid = torch.tensor(grids)
        index, weight = get_vision_interpolation_indices_and_weights(
            grid, side, mode="bilinear", align_corners=True, spatial_merge_size=merge
        )
        ends = get_vision_cu_seqlens(grid).numpy()
        segments = np.concatenate([
            np.tile(np.array([[a, b]], dtype=np.int32), (b - a, 1)) for a, b in zip(ends, ends[1:])
        ])
        name = f"{side}.{merge}." + "_".join("x".join(map(str, g)) for g in grids)
        found |= {
            f"{name}.position_index": index.numpy().astype(np.int32),
            f"{name}.position_weight": weight.numpy(),
            f"{name}.patch_positions": np.ascontiguousarray(
                get_vision_position_ids(grid, merge).numpy().T.astype(np.int32)
            ),
            f"{name}.segments": segments.astype(np.int32),
        }
    return found


def prompts():
    with torch.device("meta"):
        model = Qwen3_5Model(Qwen3_5Config())
    merge = model.config.vision_config.spatial_merge_size
    found = {}
    for name, parts in PROMPTS.items():
        grids = [part for part in parts if isinstance(part, tuple)]
        ids = []
        for part in parts:
            ids += [TEXT] * part if isinstance(part, int) else [IMAGE] * (np.prod(part) // merge**2)
        ids = torch.tensor([ids])
        positions, delta = model.get_rope_index(
            ids, (ids == IMAGE).int(), torch.tensor(grids) if grids else None
        )
        found |= {
            f"{name}.ids": ids[0].numpy().astype(np.int32),
            f"{name}.grids": np.array(grids, dtype=np.int32).reshape(-1, 3),
            f"{name}.positions": np.ascontiguousarray(positions[:, 0].numpy().astype(np.int32)),
            f"{name}.rope_delta": delta.reshape(1).numpy().astype(np.int32),
        }
    return found


def main():
    out = Path(sys.argv[1])
    save_file(tables(), out / "vision_tables.safetensors")
    save_file(prompts(), out / "rope_index.safetensors")


main()
