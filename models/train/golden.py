"""Golden runs of nano that a person can read: a question, transformers' answer in float32, and the logits on the way.

    python golden.py <checkpoint folder> <cases> <out folder>

Writes text.safetensors and picture.safetensors as `qwenc verify --golden` reads them. The answer is fed token by token, as it is decoded;
logits are checked at the end of the prompt and at every token of the answer. The conversation is in the file's metadata.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

from predict import Model

TEXT = [{
    "role": "user",
    "content": "Anna lives in Oslo. Tom has a parrot as a pet. Maria plays the cello. The key is in the garage. "
    "Anna works as a baker.\nWhich instrument does Maria play?",
}]  # fmt: skip
PICTURE = "describe-0002"


@torch.no_grad()
def record(model: Model, messages: list[dict], cases: Path, out: Path) -> None:
    ids, picture = model.prompt(messages, cases)
    inputs = model.inputs(ids, picture)
    answer = model.model.generate(
        **inputs, do_sample=False, max_new_tokens=64, eos_token_id=model.end, pad_token_id=model.end
    )[0, len(ids) :].tolist()
    all_ids = ids + answer
    logits = model.model(**model.inputs(all_ids, picture)).logits[0].numpy()
    positions = np.arange(len(ids) - 1, len(all_ids))
    tensors = {
        "input_ids": np.array(all_ids, np.int64),
        "splits": np.array([len(ids)] + [1] * len(answer), np.int64),
        "logit_positions": positions.astype(np.int64),
        "logits": logits[positions].astype(np.float32),
    }
    for part in messages[0]["content"] if isinstance(messages[0]["content"], list) else []:
        if part["type"] == "image":
            tensors["image_0"] = np.asarray(Image.open(cases / part["image"]).convert("RGB"))
    text = model.tokenizer.decode([id for id in answer if id != model.end])
    metadata = {
        "source": "Hugging Face transformers, float32, CPU",
        "min_cosine": "0.9999",
        "question": json.dumps(messages),
        "answer": text,
    }
    save_file(tensors, out, metadata=metadata)
    print(f"{out}: {len(ids)} tokens, then: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = Model(args.checkpoint, "cpu")
    record(model, TEXT, args.cases, args.out / "text.safetensors")
    lines = (args.cases / f"{PICTURE.rsplit('-', 1)[0]}.jsonl").read_text().splitlines()
    case = next(case for case in map(json.loads, lines) if case["id"] == PICTURE)
    record(model, case["messages"], args.cases, args.out / "picture.safetensors")


if __name__ == "__main__":
    main()
