"""Features that Hugging Face transformers' vision encoder computes, in float32 on the CPU.

    python vision_golden.py <hf_folder> <golden.safetensors>

Tensors, for each case: <case>.grid_thw i64 [images, 3] and <case>.features f32 [image tokens, width]. The pixels of a case are
not stored: element n of the row-major tensor [patches, values] is

    ((n * 2654435761 + patches * 40503) mod 2^32 >> 8) / 2^24 * 4 - 2

which is exact in float32. The case `several` has two images of different sizes and one of two frames; every frame is
attended to by itself.
"""

import argparse

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import Qwen3_5ForConditionalGeneration

CASES = {
    "wide": [(1, 4, 6)],
    "wider": [(1, 6, 10)],
    "square": [(1, 8, 8)],
    "small": [(1, 2, 4)],
    "several": [(1, 4, 6), (1, 6, 2), (2, 4, 4)],
}


def pixels(patches, values):
    n = np.arange(patches * values, dtype=np.uint64)
    bits = (n * 2654435761 + patches * 40503) % 2**32 >> 8
    return (bits.astype(np.float32) / np.float32(2**24) * 4 - 2).reshape(patches, values)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("out")
    args = parser.parse_args()

    model = Qwen3_5ForConditionalGeneration.from_pretrained(args.folder, dtype=torch.float32).eval()
    vision = model.config.vision_config
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    tensors = {}
    for name, grids in CASES.items():
        grid = torch.tensor(grids)
        patches = int(grid.prod(-1).sum())
        features = model.model.visual(torch.from_numpy(pixels(patches, values)), grid_thw=grid).pooler_output
        tensors[f"{name}.grid_thw"] = grid.numpy()
        tensors[f"{name}.features"] = np.ascontiguousarray(features.numpy())
    save_file(tensors, args.out)


if __name__ == "__main__":
    main()
