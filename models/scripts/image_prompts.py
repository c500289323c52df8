"""Prompts with images of different sizes, from Hugging Face transformers in float32, as files of `qwenc verify`.

    python image_prompts.py <hf_folder> <out_folder>

two_images.safetensors gives patches of two images (grids 4 x 2 and 2 x 6); pictures.safetensors gives two pictures as pixels, which
the reference's image processor prepares. Both end with 5 greedy steps.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from golden import PATCH_VALUES, STEPS, generate
from PIL import Image
from safetensors.numpy import save_file
from transformers import Qwen3_5ForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from verify_golden import METADATA

GRIDS = [(4, 2), (2, 6)]
# (height, width) in pixels
PICTURES = [(50, 60), (90, 31)]


def prompt(model, rng, grids, merge):
    """A few tokens, the first image, a few tokens, and so on."""
    config = model.config
    limit = min(config.text_config.vocab_size, config.vision_start_token_id) - 6
    ids = rng.integers(0, limit, 3).tolist()
    for height, width in grids:
        ids += [config.vision_start_token_id] + [config.image_token_id] * (height * width // merge**2)
        ids += [config.vision_end_token_id] + rng.integers(0, limit, 4).tolist()
    return torch.tensor([ids])


def run(model, rng, pixels, grids, path, images, every):
    """Writes one file. `images` are what the file has of them; logits of every `every`-th position are kept."""
    ids = prompt(model, rng, grids, model.config.vision_config.spatial_merge_size)
    grid = torch.tensor([[1, height, width] for height, width in grids])
    is_image = (ids == model.config.image_token_id).int()
    positions, delta = model.model.get_rope_index(ids, mm_token_type_ids=is_image, image_grid_thw=grid)
    inputs = dict(pixel_values=pixels, image_grid_thw=grid, mm_token_type_ids=is_image)
    result = generate(model, "image", ids, positions, int(delta), STEPS, **inputs)
    logits = np.concatenate([result["image.prefill_logits"][0].numpy(), result["image.decode_logits"][0].numpy()])
    ids = np.concatenate([ids[0].numpy(), result["image.decode_tokens"][0].numpy()])
    assert len(ids) == len(logits)
    kept = np.arange(len(ids) - 1, -1, -every, dtype=np.int64)[::-1]
    kept = np.union1d(kept, np.arange(len(ids) - STEPS - 1, len(ids))).astype(np.int64)
    tensors = {
        "input_ids": ids.astype(np.int64),
        "splits": np.array([len(ids) - STEPS] + [1] * STEPS, np.int64),
        "logit_positions": kept,
        "logits": logits[kept].astype(np.float32),
    } | images
    save_file(tensors, path, metadata=METADATA)
    print(path, f"rope_delta {int(delta)}", {name: tensor.shape for name, tensor in tensors.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    model = Qwen3_5ForConditionalGeneration.from_pretrained(args.folder, dtype=torch.float32).eval()
    rng = np.random.default_rng(11)

    patches = sum(height * width for height, width in GRIDS)
    pixels = torch.from_numpy(rng.standard_normal((patches, PATCH_VALUES), dtype=np.float32))
    images = {
        "pixel_values": pixels.numpy(),
        "image_grid_thw": np.array([[1, height, width] for height, width in GRIDS], np.int64),
    }
    run(model, rng, pixels, GRIDS, args.out / "two_images.safetensors", images, 1)

    pictures = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in PICTURES]
    processor = Qwen2VLImageProcessor.from_pretrained(args.folder)
    seen = processor([Image.fromarray(picture) for picture in pictures], return_tensors="pt")
    grids = [tuple(grid[1:]) for grid in seen["image_grid_thw"].tolist()]
    images = {f"image_{i}": picture for i, picture in enumerate(pictures)}
    run(model, rng, seen["pixel_values"], grids, args.out / "pictures.safetensors", images, 7)


if __name__ == "__main__":
    main()
