"""Golden inputs and outputs of a checkpoint, from Hugging Face transformers in float32 on the CPU.

    python golden.py <hf_folder> <golden.safetensors>

Tensors: text.* (17-token prefill and 5 greedy decode steps), long.* (150-token prefill: more than two 64-token chunks of
the delta rule), image.* (pixels, grid, features, 3-axis positions, prefill and decode); other grids of the vision tower
alone are vision_golden.py's. States after the prefill and after the last step, per layer N: N.conv [1, C, 4] (the last 4 columns),
N.recurrent [1, H, Dk, Dv], N.key and N.value [1, Hkv, T, D].

Everything is also run in float64; the differences printed are the noise floor of float32.
"""

import argparse

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import Qwen3_5ForConditionalGeneration

PREFILL, LONG, STEPS = 17, 150, 5
IMAGE_GRID = (4, 6)
PATCH_VALUES = 3 * 2 * 16 * 16


def states(cache, layer_types):
    found = {}
    for i, kind in enumerate(layer_types):
        if kind == "linear_attention":
            found[f"{i}.conv"] = cache.get_conv_state(i, state_idx=0)
            found[f"{i}.recurrent"] = cache.get_recurrent_state(i, state_idx=0)
        else:
            found[f"{i}.key"], found[f"{i}.value"] = cache.layers[i].keys, cache.layers[i].values
    return {name: state.detach().clone() for name, state in found.items()}


@torch.no_grad()
def generate(model, prefix, ids, position_ids, delta, steps, **inputs):
    """Prefill and greedy steps with explicit positions [3, 1, S]; a step's position is its index plus `delta`."""
    layer_types = model.config.text_config.layer_types
    out = model(input_ids=ids, position_ids=position_ids, use_cache=True, **inputs)
    result = {"prefill_logits": out.logits}
    result |= {f"after_prefill.{k}": v for k, v in states(out.past_key_values, layer_types).items()}
    token, length = out.logits[:, -1:].argmax(-1), ids.shape[1]
    tokens, logits = [], []
    for _ in range(steps):
        tokens.append(token)
        position = torch.full((3, 1, 1), length + delta, dtype=torch.long)
        out = model(input_ids=token, position_ids=position, past_key_values=out.past_key_values, use_cache=True)
        logits.append(out.logits[:, -1])
        token, length = out.logits[:, -1:].argmax(-1), length + 1
    if steps:
        result["decode_tokens"] = torch.cat(tokens, 1)
        result["decode_logits"] = torch.stack(logits, 1)
        result |= {f"after_decode.{k}": v for k, v in states(out.past_key_values, layer_types).items()}
    return {f"{prefix}.{k}": v for k, v in result.items()}


def text_positions(length):
    return torch.arange(length).view(1, 1, -1).expand(3, 1, -1)


def make_inputs(model):
    """Seeded inputs of every case; the order of the draws is part of the golden."""
    config = model.config
    rng = np.random.default_rng(7)
    limit = min(config.text_config.vocab_size, config.vision_start_token_id) - 6
    text = torch.from_numpy(rng.integers(0, limit, (1, PREFILL)))
    long = torch.from_numpy(rng.integers(0, limit, (1, LONG)))
    height, width = IMAGE_GRID
    pixels = torch.from_numpy(rng.standard_normal((height * width, PATCH_VALUES), dtype=np.float32))
    before, after = rng.integers(0, limit, 3).tolist(), rng.integers(0, limit, 6).tolist()
    image_tokens = height * width // config.vision_config.spatial_merge_size**2
    image = torch.tensor([
        before
        + [config.vision_start_token_id]
        + [config.image_token_id] * image_tokens
        + [config.vision_end_token_id]
        + after
    ])
    grid = torch.tensor([[1, height, width]])
    is_image = (image == config.image_token_id).int()
    positions, delta = model.model.get_rope_index(image, mm_token_type_ids=is_image, image_grid_thw=grid)
    return {
        "text.input_ids": text,
        "text.position_ids": text_positions(PREFILL).contiguous(),
        "long.input_ids": long,
        "image.input_ids": image,
        "image.position_ids": positions.contiguous(),
        "image.rope_delta": delta.reshape(-1),
        "image.pixel_values": pixels,
        "image.grid_thw": grid,
    }


@torch.no_grad()
def run(model, inputs):
    dtype = next(model.parameters()).dtype
    pixels, grid = inputs["image.pixel_values"].to(dtype), inputs["image.grid_thw"]
    ids, delta = inputs["image.input_ids"], int(inputs["image.rope_delta"])
    is_image = ids == model.config.image_token_id
    result = {}

    features = model.model.visual(pixels, grid_thw=grid).pooler_output
    embeddings = model.get_input_embeddings()(ids)
    result["image.vision_features"] = features
    result["image.inputs_embeds"] = embeddings.masked_scatter(is_image[..., None], features.to(embeddings.dtype))

    result |= generate(model, "text", inputs["text.input_ids"], text_positions(PREFILL), 0, STEPS)
    result |= generate(model, "long", inputs["long.input_ids"], text_positions(LONG), 0, 0)
    image = dict(pixel_values=pixels, image_grid_thw=grid, mm_token_type_ids=is_image.int())
    result |= generate(model, "image", ids, inputs["image.position_ids"], delta, STEPS, **image)
    return result


def print_noise_floor(f32, f64):
    for name, value in f32.items():
        if "logits" in name or "features" in name or ".0.recurrent" in name:
            noise = (value.double() - f64[name]).abs().max()
            rms = value.double().pow(2).mean().sqrt()
            print(f"{name:38s} {tuple(value.shape)} rms {rms:.4f}  max|f32-f64| {noise:.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("out")
    args = parser.parse_args()

    model = Qwen3_5ForConditionalGeneration.from_pretrained(args.folder, dtype=torch.float32).eval()
    inputs = make_inputs(model)
    f32 = run(model, inputs)
    tensors = {k: np.ascontiguousarray(v.numpy()) for k, v in (f32 | inputs).items()}
    save_file(tensors, args.out)
    print_noise_floor(f32, run(model.double(), inputs))


if __name__ == "__main__":
    main()
