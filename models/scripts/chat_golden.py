"""Conversations with a checkpoint, answered greedily by transformers in float32: what `qwenc generate` and `qwenc chat`
should answer.

    python chat_golden.py <hf_folder> <chat_template.jinja> <chat.json>

An image, chat.png, is made beside the output. The checkpoint's own template and the one given are used in turn. Every turn has the prompt's tokens, the answer's tokens
and its text; `margin` is the smallest difference of the two largest logits on the way, in which rounding must not get lost.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, PreTrainedTokenizerFast, Qwen3_5ForConditionalGeneration

TOKENS = 12

CONVERSATIONS = [
    ("own", [{"role": "user", "content": "Hello"}], ["What then?"], {}),
    ("given", [{"role": "user", "content": "Hello"}], ["And you?", "ok 日本 👍"], {"enable_thinking": False}),
    (
        "given",
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        ["More"],
        {"enable_thinking": True},
    ),
    (
        "given",
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}],
        ["Where?"],
        {"enable_thinking": False},
    ),
]


def picture():
    """A gradient with a bright square, 96 x 64."""
    row, column = np.mgrid[0:64, 0:96]
    pixels = np.stack([row * 4, column * 2, 255 - row - column], -1)
    pixels[20:40, 30:50] = [255, 240, 16]
    return Image.fromarray(pixels.astype(np.uint8))


@torch.no_grad()
def greedy(model, ids, stop, image):
    ids = torch.tensor([ids])
    inputs, positions, delta = {}, torch.arange(ids.shape[1]).view(1, 1, -1).expand(3, 1, -1), 0
    if image:
        is_image = (ids == model.config.image_token_id).int()
        inputs = dict(image, mm_token_type_ids=is_image)
        positions, delta = model.model.get_rope_index(
            ids, mm_token_type_ids=is_image, image_grid_thw=image["image_grid_thw"]
        )
        delta = int(delta)
    out = model(input_ids=ids, position_ids=positions, use_cache=True, **inputs)
    tokens, margin, length = [], float("inf"), ids.shape[1]
    for _ in range(TOKENS):
        top = out.logits[0, -1].topk(2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        token = int(top.indices[0])
        if token in stop:
            return tokens, margin, "stop"
        tokens.append(token)
        position = torch.full((3, 1, 1), length + delta, dtype=torch.long)
        feed = torch.tensor([[token]])
        cache = out.past_key_values
        out = model(input_ids=feed, position_ids=position, past_key_values=cache, use_cache=True)
        length += 1
    return tokens, margin, "length"


def question_of(content):
    return content if isinstance(content, str) else content[-1]["text"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("template", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()

    # AutoTokenizer puts the pattern of its own class in the place of the file's.
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{args.folder}/tokenizer.json")
    own = Path(args.folder, "chat_template.jinja").read_text(encoding="utf-8")
    model = Qwen3_5ForConditionalGeneration.from_pretrained(args.folder, dtype=torch.float32).eval()
    settings = json.loads(Path(args.folder, "tokenizer_config.json").read_text(encoding="utf-8"))
    stop = {model.generation_config.eos_token_id, tokenizer.convert_tokens_to_ids(settings["eos_token"])}
    picture().save(args.out.with_suffix(".png"), optimize=True)
    processor = AutoImageProcessor.from_pretrained(args.folder)
    image = processor(images=[Image.open(args.out.with_suffix(".png"))], return_tensors="pt")
    rows = int(image["image_grid_thw"].prod()) // processor.merge_size**2
    pad = model.config.image_token_id
    recorded = []
    for template, messages, questions, arguments in CONVERSATIONS:
        source = own if template == "own" else args.template.read_text(encoding="utf-8")
        messages, turns = list(messages), []
        for question in [*questions, None]:
            prompt = tokenizer.apply_chat_template(
                messages, chat_template=source, tokenize=False, add_generation_prompt=True, **arguments
            )
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            # One place in the text, a token for every row of features.
            seen = dict(image) if pad in ids else None
            ids = [id for token in ids for id in [token] * (rows if token == pad else 1)]
            tokens, margin, reason = greedy(model, ids, stop, seen)
            text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            turns.append({
                "user": question_of(messages[-1]["content"]),
                "prompt_ids": ids,
                "tokens": tokens,
                "raw_text": text,
                "finish_reason": reason,
                "margin": round(margin, 5),
            })
            # With thinking on, all of a short answer is reasoning.
            reasoning = template == "given" and arguments["enable_thinking"]
            answer = {"content": "", "reasoning_content": text} if reasoning else {"content": text}
            messages += [{"role": "assistant", **answer}, {"role": "user", "content": question}]
        system = messages[0]["content"] if messages[0]["role"] == "system" else None
        thinking = arguments.get("enable_thinking", False)
        picture_first = isinstance(messages[0]["content"], list)
        about = {"template": template, "system": system, "thinking": thinking, "image": picture_first}
        recorded.append(about | {"turns": turns})
        print(template, [(turn["margin"], turn["raw_text"]) for turn in turns])
    args.out.write_text(json.dumps({"max_new_tokens": TOKENS, "conversations": recorded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
