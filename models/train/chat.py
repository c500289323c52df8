"""Conversations as token ids, exactly as the chat template renders them, with a mask of what is learned.

The template (Qwen3.5's own) leaves the reasoning of earlier turns away and opens the last answer with an empty one when thinking is off. A
training row keeps several turns, so its earlier answers come both ways.
"""

import random
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from text_tasks import Turn

NO_THOUGHT = "<think>\n\n</think>\n\n"


@dataclass
class Row:
    """Ids of one conversation; `learned[i]` says whether id i is part of an answer. `pictures` are token ranges."""

    ids: list[int] = field(default_factory=list)
    learned: list[bool] = field(default_factory=list)
    pictures: list[tuple[int, int, int]] = field(default_factory=list)
    """(first image token, rows, columns of merged patches)"""


class Chat:
    """Renders turns."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.image = tokenizer.token_to_id("<|image_pad|>")
        self.cache: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids of text between special tokens; short texts are remembered."""
        found = self.cache.get(text)
        if found is None:
            found = self.tokenizer.encode(text, add_special_tokens=False).ids
            if len(text) < 60 and len(self.cache) < 200_000:
                self.cache[text] = found
        return found

    def turn(self, turn: Turn, *, grids: list[tuple[int, int]], thinking: bool, last: bool, text_first: bool) -> Row:
        """One turn. `grids` are the merged rows and columns of pictures that come with it; `last` is how the newest answer is
        rendered, with its reasoning."""
        row = Row()

        def say(ids: list[int], learned: bool) -> None:
            row.ids.extend(ids)
            row.learned.extend([learned] * len(ids))

        pictures = ["<|vision_start|>" + "<|image_pad|>" * (h * w) + "<|vision_end|>" for h, w in grids]
        say(self.encode("<|im_start|>user\n"), False)
        question = turn.question + "".join(pictures) if text_first else "".join(pictures) + turn.question
        before = len(row.ids)
        say(self.encode(question + "<|im_end|>"), False)
        at = before
        for h, w in grids:
            at = row.ids.index(self.image, at)
            row.pictures.append((at, h, w))
            at += h * w
        say(self.encode("\n<|im_start|>assistant\n"), False)
        if thinking:
            say(self.encode("<think>\n"), False)
            say(self.encode((turn.thought or "") + "\n</think>\n\n" + turn.answer + "<|im_end|>"), True)
        elif last:
            say(self.encode(NO_THOUGHT), False)
            say(self.encode(turn.answer + "<|im_end|>"), True)
        else:
            say(self.encode(turn.answer + "<|im_end|>"), True)
        say(self.encode("\n"), False)
        return row

    def add(self, row: Row, turn: Row, limit: int) -> bool:
        """Appends a turn to a conversation if both fit into `limit` ids; whether they did."""
        if len(row.ids) + len(turn.ids) > limit:
            return False
        base = len(row.ids)
        row.pictures.extend((base + at, h, w) for at, h, w in turn.pictures)
        row.ids.extend(turn.ids)
        row.learned.extend(turn.learned)
        return True

    def style(self, rng: random.Random, turn: Turn) -> dict[str, bool]:
        """How a turn is rendered in a training row."""
        thinking = turn.thought is not None and len(turn.thought) < 200 and rng.random() < 0.12
        return {"thinking": thinking, "last": rng.random() < 0.6, "text_first": rng.random() < 0.15}
