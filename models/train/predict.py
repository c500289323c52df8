"""Answers cases with transformers in float32, as predictions that `qwenc eval --compare` reads.

    python predict.py <checkpoint folder> <cases> <predictions.jsonl> [--task NAME] [--limit N] [--device cpu]

The prompt is made by the tokenizer's chat template with thinking off, the picture goes through the image processor. Greedy: where every
token of the expected answer is the likeliest after those before it, greedy decoding gives that answer; else the answer is decoded.
"""

import argparse
import json
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Qwen3_5ForConditionalGeneration


class Model:
    """A checkpoint with its tokenizer and image processor."""

    def __init__(self, folder: Path, device: str):
        torch.backends.cudnn.allow_tf32 = False
        self.model = Qwen3_5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval().to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="torchvision")
        self.device = device
        self.pad = self.model.config.image_token_id
        self.end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")

    def prompt(self, messages: list[dict], folder: Path) -> tuple[list[int], dict]:
        """Ids with as many image tokens as each picture has, and the pictures' values."""
        images = [
            Image.open(folder / part["image"]).convert("RGB")
            for message in messages if isinstance(message["content"], list)
            for part in message["content"] if part["type"] == "image"
        ]  # fmt: skip
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not images:
            return ids, {}
        seen = self.processor(images=images, return_tensors="pt")
        counts = iter(int(grid.prod()) // 4 for grid in seen["image_grid_thw"])
        filled = [token for id in ids for token in ([id] * next(counts) if id == self.pad else [id])]
        return filled, {name: seen[name].to(self.device) for name in ("pixel_values", "image_grid_thw")}

    def inputs(self, ids: list[int], picture: dict) -> dict:
        tokens = torch.tensor([ids], device=self.device)
        kinds = {"mm_token_type_ids": (tokens == self.pad).int()} if picture else {}
        return {"input_ids": tokens, **picture, **kinds}

    @torch.no_grad()
    def answer(self, messages: list[dict], folder: Path, expected: str, room: int) -> str:
        """What greedy decoding of at most `room` tokens gives; one that does not end itself is marked with `...`."""
        ids, picture = self.prompt(messages, folder)
        wanted = [*self.tokenizer(expected, add_special_tokens=False)["input_ids"], self.end]
        scores = self.model(**self.inputs(ids + wanted[:-1], picture)).logits[0, len(ids) - 1 :]
        if scores.argmax(-1).tolist() == wanted:
            return expected
        out = self.model.generate(
            **self.inputs(ids, picture), do_sample=False, max_new_tokens=room, eos_token_id=self.end, pad_token_id=self.end
        )[0, len(ids) :].tolist()
        text = self.tokenizer.decode([id for id in out if id != self.end])
        return text if self.end in out else text + "..."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    model = Model(args.checkpoint, args.device)
    with args.out.open("w") as out:
        for file in sorted(args.cases.glob("*.jsonl")):
            if args.task not in (None, file.stem):
                continue
            cases = [json.loads(line) for line in file.read_text().splitlines()][: args.limit]
            room = max(len(model.tokenizer(case["answer"])["input_ids"]) for case in cases) + 8
            right = 0
            for case in cases:
                got = model.answer(case["messages"], args.cases, case["answer"], room)
                hit = got.strip() == case["answer"].strip()
                right += hit
                line = {"task": file.stem, "id": case["id"], "answer": case["answer"], "got": got, "right": hit}
                out.write(json.dumps(line) + "\n")
            print(f"{file.stem:18s} {right} of {len(cases)}", flush=True)


if __name__ == "__main__":
    main()
