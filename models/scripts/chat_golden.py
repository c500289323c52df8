"""Conversations with a checkpoint, answered greedily by transformers in float32: what `qwenc generate` and `qwenc chat`
should answer.

    python chat_golden.py <hf_folder> <chat_template.jinja> <chat.json>

The checkpoint's own template and the one given are used in turn. Every turn has the prompt's tokens, the answer's tokens
and its text; `margin` is the smallest difference of the two largest logits on the way, in which rounding must not get lost.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3_5ForConditionalGeneration

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
]


@torch.no_grad()
def greedy(model, ids, stop):
    tokens, margin = [], float("inf")
    cache, feed = None, torch.tensor([ids])
    for _ in range(TOKENS):
        out = model(input_ids=feed, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        top = out.logits[0, -1].topk(2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        token = int(top.indices[0])
        if token in stop:
            return tokens, margin, "stop"
        tokens.append(token)
        feed = torch.tensor([[token]])
    return tokens, margin, "length"


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
    recorded = []
    for template, messages, questions, arguments in CONVERSATIONS:
        source = own if template == "own" else args.template.read_text(encoding="utf-8")
        messages, turns = list(messages), []
        for question in [*questions, None]:
            prompt = tokenizer.apply_chat_template(
                messages, chat_template=source, tokenize=False, add_generation_prompt=True, **arguments
            )
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            tokens, margin, reason = greedy(model, ids, stop)
            text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            turns.append({
                "user": messages[-1]["content"],
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
        recorded.append({"template": template, "system": system, "thinking": thinking, "turns": turns})
        print(template, [(turn["margin"], turn["raw_text"]) for turn in turns])
    args.out.write_text(json.dumps({"max_new_tokens": TOKENS, "conversations": recorded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
