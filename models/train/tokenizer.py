"""nano's own tokenizer: a byte-level BPE of 1,280 tokens, in the format of Qwen3.5's, with its special tokens.

    python tokenizer.py <folder>

Learns its merges from 60,000 conversations of the generators, and writes tokenizer.json, tokenizer_config.json,
chat_template.jinja and preprocessor_config.json. Deterministic.
"""

import json
import random
import shutil
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import picture_tasks
from text_tasks import TEXT_TASKS

VOCABULARY = 1280
# As in Qwen3.5: numbers fall apart into digits, letters take one leading space along.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
# Marks that are tokens, but text: the template's reasoning and tool calls.
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def texts(count: int):
    rng = random.Random("tokenizer")
    for _ in range(count):
        if rng.random() < 0.5:
            yield "user\n"
            for turn in rng.choice([*TEXT_TASKS.values()])(rng):
                yield f"{turn.question}\n"
                yield turn.answer
        else:
            kind = rng.choices(*zip(*picture_tasks.PICTURE_KINDS))[0]
            for _, turn in kind(rng, 32, 32)[1]:
                yield turn.question
                yield turn.answer
            yield "assistant\n"


def build() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(MARKS),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts(60_000), trainer)
    fill = VOCABULARY - len(SPECIAL) - len(MARKS) - tokenizer.get_vocab_size()
    if fill:
        tokenizer.add_tokens([AddedToken(f"<|unused_{i}|>", special=True) for i in range(fill)])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKS])
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    build().save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copyfile(Path(__file__).parent.parent / "qwen3_5_chat_template.jinja", folder / "chat_template.jinja")
    preprocessor = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
        "size": {"shortest_edge": 16384, "longest_edge": 50176},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")


if __name__ == "__main__":
    main()
