"""Makes a Qwen3.5 checkpoint with random weights: a local folder as Hugging Face lays it out (weights, tokenizer, settings).

    python make_model.py tiny <folder>    hidden 64, 3 delta layers and 1 attention layer, vision depth 2, vocabulary 512
    python make_model.py odd <folder>     sizes that the others do not have: see ODD
    python make_model.py full <folder>    the shape of Qwen3.5-0.8B (1.7 GB in bfloat16)

Every 2-D weight of the language model (but in `odd`, whose rows are no multiples of 32) holds values of a 4-bit grid exactly: an integer of -8..7 times one power of two
for the whole tensor, and every aligned block of 32 along K holds both -8 and 7. Rounding to int4, symmetric or not, in
blocks of 32 or 128, therefore recovers the weights exactly, and ONE float32 golden serves float32, float16 and int4
graphs. (With ordinary random weights an int4 graph is about 10 logits off, and shows nothing.) All other tensors are
exact in float16.

Each tensor is seeded by the CRC-32 of its name, so the weights depend neither on torch's version nor on the order of
initialisation.
"""

import argparse
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

BLOCK = 32


@dataclass(frozen=True)
class Shape:
    """One size of the model."""

    text: dict
    vision: dict
    ids: dict
    embedding_scale: float
    first_special_id: int


def text_config(**sizes) -> dict:
    period = ["linear_attention"] * 3 + ["full_attention"]
    return dict(
        hidden_act="silu",
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        attention_bias=False,
        attn_output_gate=True,
        full_attention_interval=4,
        linear_conv_kernel_dim=4,
        layer_types=period * (sizes["num_hidden_layers"] // 4),
        bos_token_id=None,
        pad_token_id=None,
    ) | sizes


def rope(sections: list[int]) -> dict:
    return dict(
        rope_type="default",
        rope_theta=10000000.0,
        partial_rotary_factor=0.25,
        mrope_interleaved=True,
        mrope_section=sections,
    )


def vision_config(**sizes) -> dict:
    return dict(
        hidden_act="gelu_pytorch_tanh",
        in_channels=3,
        patch_size=16,
        spatial_merge_size=2,
        temporal_patch_size=2,
        deepstack_visual_indexes=[],
    ) | sizes


TINY = Shape(
    text=text_config(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=4096,
        linear_key_head_dim=16, linear_value_head_dim=16, linear_num_key_heads=4, linear_num_value_heads=4,
        rope_parameters=rope([2, 1, 1]), eos_token_id=500,
    ),
    vision=vision_config(
        depth=2, hidden_size=32, intermediate_size=64, num_heads=2, out_hidden_size=64, num_position_embeddings=64,
    ),
    ids=dict(image_token_id=508, video_token_id=509, vision_start_token_id=505, vision_end_token_id=506),
    embedding_scale=0.25,
    first_special_id=500,
)  # fmt: skip

# Attention before the delta layers, three value heads for each key head, heads of other widths for keys and values, a
# kernel of 3 taps, attention heads of 20, three query heads for each key head, biases, and a head of its own.
ODD = Shape(
    text=text_config(
        vocab_size=320, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
        layer_types=["full_attention", "linear_attention", "linear_attention"],
        num_attention_heads=6, num_key_value_heads=2, head_dim=20, max_position_embeddings=512,
        linear_key_head_dim=24, linear_value_head_dim=40, linear_num_key_heads=2, linear_num_value_heads=6,
        linear_conv_kernel_dim=3, attention_bias=True, tie_word_embeddings=False,
        rope_parameters=rope([2, 1, 1]) | {"partial_rotary_factor": 0.4}, eos_token_id=308,
    ),
    vision=vision_config(
        depth=1, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=48, num_position_embeddings=64,
    ),
    ids=dict(image_token_id=316, video_token_id=317, vision_start_token_id=313, vision_end_token_id=314),
    embedding_scale=0.25,
    first_special_id=308,
)  # fmt: skip

FULL = Shape(
    text=text_config(
        vocab_size=248320, hidden_size=1024, intermediate_size=3584, num_hidden_layers=24,
        num_attention_heads=8, num_key_value_heads=2, head_dim=256, max_position_embeddings=262144,
        linear_key_head_dim=128, linear_value_head_dim=128, linear_num_key_heads=16, linear_num_value_heads=16,
        rope_parameters=rope([11, 11, 10]), eos_token_id=248044,
    ),
    vision=vision_config(
        depth=12, hidden_size=768, intermediate_size=3072, num_heads=12, out_hidden_size=1024,
        num_position_embeddings=2304,
    ),
    ids=dict(
        image_token_id=248056, video_token_id=248057, vision_start_token_id=248053, vision_end_token_id=248054,
    ),
    embedding_scale=0.0625,
    first_special_id=248044,
)  # fmt: skip

SHAPES = {"tiny": TINY, "odd": ODD, "full": FULL}


def make_config(shape: Shape) -> Qwen3_5Config:
    return Qwen3_5Config(
        text_config=dict(shape.text),
        vision_config=dict(shape.vision),
        tie_word_embeddings=shape.text["tie_word_embeddings"],
        architectures=["Qwen3_5ForConditionalGeneration"],
        dtype="float32",
        **shape.ids,
    )


def plain_values(name: str, size: torch.Size, rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Values in the range that each kind of tensor has in a trained model, so that no layer saturates."""
    r = rng.standard_normal(size, dtype=np.float32)
    if name.endswith("A_log"):
        return np.log(rng.uniform(0.5, 16.0, size)).astype(np.float32)
    if name.endswith("dt_bias"):
        return (1.0 + 0.5 * r) - 2.0  # decay rates spread over about 0.02 .. 1
    if "linear_attn.norm.weight" in name or ("visual" in name and "norm" in name and name.endswith("weight")):
        return 1.0 + 0.1 * r  # a plain scale
    if "norm" in name:
        return 0.1 * r  # RMSNorm scales by (1 + w); biases of LayerNorm
    if name.endswith("bias"):
        return 0.05 * r
    if "conv1d" in name:
        return 0.4 * r
    if "embed" in name and "patch" not in name:
        return 0.5 * r if shape is not FULL else 0.05 * r
    return r * (1.0 / np.sqrt(int(np.prod(size[1:]))))


def grid_values(name: str, size: torch.Size, rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Values of the 4-bit grid, with both ends of the range in every block."""
    k = size[1]
    blocks = (size[0], k // BLOCK, BLOCK)
    if shape is TINY:
        q = rng.standard_normal(size)
    else:
        q = rng.standard_normal(size, dtype=np.float32)
    q = np.clip(np.round(q * 2.7), -8, 7).astype(np.int8).reshape(blocks)
    if shape is TINY:
        ends = rng.random(q.shape).argsort(-1)[..., :2]  # two random places in each block
    else:  # the same, cheaper
        low = rng.integers(0, BLOCK, (*blocks[:2], 1), dtype=np.int8)
        high = (low + rng.integers(1, BLOCK, low.shape, dtype=np.int8)) % BLOCK
        ends = np.concatenate([low, high], -1).astype(np.int64)
    np.put_along_axis(q, ends[..., :1], -8, -1)
    np.put_along_axis(q, ends[..., 1:], 7, -1)
    target = shape.embedding_scale if "embed" in name else 1 / np.sqrt(k)
    return (q.reshape(size) * 2.0 ** np.round(np.log2(target / q.std()))).astype(np.float32)


def on_grid(name: str, size: torch.Size) -> bool:
    return len(size) == 2 and size[1] % BLOCK == 0 and "weight" in name and "visual" not in name


@torch.no_grad()
def make_model(shape: Shape) -> Qwen3_5ForConditionalGeneration:
    torch.manual_seed(0)
    with torch.device("cpu"):
        model = Qwen3_5ForConditionalGeneration(make_config(shape)).float().eval()
    for name, parameter in model.named_parameters():
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
        values = plain_values(name, parameter.shape, rng, shape)
        if on_grid(name, parameter.shape):
            values = grid_values(name, parameter.shape, rng, shape)
        values = torch.from_numpy(np.ascontiguousarray(values.astype(np.float16)))
        if shape is FULL:
            values = values.float().bfloat16()  # exact in bfloat16 too: the folder is saved in it
        parameter.copy_(values.float())
    model.tie_weights()
    return model


def make_tokenizer(folder: Path, shape: Shape) -> None:
    """Byte-level BPE: 256 bytes, merges learned from a toy text, words that no merge reaches up to where the special tokens
    begin, and those at the ids of the configuration."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = (
        "the quick brown fox jumps over the lazy dog. describe this image in one short sentence, please! 0123456789 "
        "a model is compiled into shaders that run in the browser; tokens go in and logits come out."
    )
    trainer = trainers.BpeTrainer(
        vocab_size=min(480, shape.first_special_id), show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([text] * 4, trainer)

    special = [f"<|sp_{i}|>" for i in range(14 if shape is FULL else 12)]
    special[0:3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if shape is FULL:
        model = json.loads(tokenizer.to_str())["model"]
        vocabulary = model["vocab"] | {f"fill{i}": i for i in range(len(model["vocab"]), shape.first_special_id)}
        tokenizer.model = models.BPE(vocabulary, [tuple(merge) for merge in model["merges"]])
        special[9:11] = ["<|vision_start|>", "<|vision_end|>"]
        special[12:14] = ["<|image_pad|>", "<|video_pad|>"]
    else:
        tokenizer.add_special_tokens(
            [f"<|fill_{i}|>" for i in range(tokenizer.get_vocab_size(), shape.first_special_id)]
        )
        special[5:7] = ["<|vision_start|>", "<|vision_end|>"]
        special[8:10] = ["<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens(special)

    saved = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    saved.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
        "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    )
    saved.save_pretrained(folder)


def make_preprocessor(folder: Path) -> None:
    settings = dict(
        size=dict(longest_edge=16777216, shortest_edge=65536),
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        processor_class="Qwen3VLProcessor",
        image_processor_type="Qwen2VLImageProcessorFast",
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    shape = SHAPES[args.size]

    model = make_model(shape)
    model.generation_config.eos_token_id = shape.text["eos_token_id"]
    if shape is FULL:
        config = model.config
        config.dtype = config.text_config.dtype = config.vision_config.dtype = "bfloat16"
        model = model.bfloat16()
    model.save_pretrained(args.folder)
    make_tokenizer(args.folder, shape)
    make_preprocessor(args.folder)
    total = sum(math.prod(p.shape) for p in model.parameters())
    print(f"{args.folder}: {total} parameters")


if __name__ == "__main__":
    main()
