"""Batches of conversations, all of one shape per kind, made from a seed and a number alone."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

import picture_tasks
from chat import Chat, Row
from text_tasks import TEXT_TASKS

IGNORED = -100
FOCUS_FROM = 11_515
"""From this batch on, the questions that were behind by then are asked more often."""


@dataclass(frozen=True)
class Kind:
    """Batches of `rows` conversations of `length` tokens; `pictures` in each, of one of the `sizes` (height, width)."""

    rows: int
    length: int
    pictures: int = 0
    sizes: tuple[tuple[int, int], ...] = ()
    share: float = 0.0


KINDS = {
    "text": Kind(64, 256, share=0.22),
    "long": Kind(16, 1024, share=0.13),
    "small": Kind(64, 256, 4, ((128, 128),), share=0.23),
    "middle": Kind(64, 256, 3, ((160, 192), (192, 160)), share=0.18),
    "large": Kind(64, 256, 2, ((224, 224),), share=0.16),
    "wide": Kind(64, 256, 2, ((128, 256), (256, 128)), share=0.08),
}
"""All have 16,384 tokens. Patches are 64 to 196 a picture, within what preprocessor_config.json makes of any picture."""

# How often each text task comes in rows of the kind "text"; `lookup-long` has rows of its own.
SHORT_SHARES = {
    "copy-words": 1.0, "copy-reverse": 1.5, "sort-numbers": 2.5, "sort-words": 2.5, "arithmetic-plain": 2.0, "arithmetic-story": 1.5,
    "lookup-short": 2.0, "dialogue": 1.5, "talk": 0.5,
}  # fmt: skip
LONG_SHARES = {"lookup-long": 4.0, "lookup-short": 1.0, "dialogue": 0.5, "copy-words": 0.25, "sort-words": 0.25}


class Maker:
    """Makes batches; one for each process."""

    def __init__(self, tokenizer: Tokenizer, seed: str, focus_from: int = FOCUS_FROM):
        self.chat, self.seed, self.focus_from = Chat(tokenizer), seed, focus_from
        self.pad = tokenizer.token_to_id("<|endoftext|>")

    def kind(self, number: int) -> str:
        """The kind of a batch."""
        rng = random.Random(f"{self.seed}/kind/{number}")
        return rng.choices(list(KINDS), [kind.share for kind in KINDS.values()])[0]

    def batch(self, number: int) -> tuple[str, dict[str, torch.Tensor]]:
        """Batch number so-and-so: its kind, and its tensors."""
        name = self.kind(number)
        kind = KINDS[name]
        rng = random.Random(f"{self.seed}/{number}")
        size = rng.choice(kind.sizes) if kind.sizes else (0, 0)
        hard = picture_tasks.HARD if number < self.focus_from else picture_tasks.HARDER
        rows, pixels = [], []
        for _ in range(kind.rows):
            row, drawn = self.picture_row(rng, kind, size, hard) if kind.pictures else self.text_row(rng, kind)
            rows.append(row)
            pixels.extend(drawn)
        return name, self.tensors(rows, pixels, kind.length)

    def text_row(self, rng: random.Random, kind: Kind) -> tuple[Row, list[np.ndarray]]:
        """Tasks one after the other until the row is full."""
        shares = LONG_SHARES if kind.length > 256 else SHORT_SHARES
        row = Row()
        while True:
            task = rng.choices(list(shares), list(shares.values()))[0]
            for turn in TEXT_TASKS[task](rng):
                rendered = self.chat.turn(turn, grids=[], **self.chat.style(rng, turn))
                if not self.chat.add(row, rendered, kind.length):
                    return row, []

    def picture_row(self, rng: random.Random, kind: Kind, size: tuple[int, int], hard: dict[str, float]) -> tuple[Row, list[np.ndarray]]:
        """Pictures, each with as many questions as fit; questions are about the latest one."""
        height, width = size
        row, drawn = Row(), []
        for left in reversed(range(kind.pictures)):
            image, asked = picture_tasks.draw(rng, width, height, hard)
            drawn.append(np.asarray(image))
            grids = [(height // 32, width // 32)]
            # Leave room for the other pictures with one question each.
            limit = kind.length - left * (height * width // 1024 + 45)
            for task, turn in asked if left == 0 else asked[: rng.randint(1, 4)]:
                rendered = self.chat.turn(turn, grids=grids, **self.chat.style(rng, turn))
                if not self.chat.add(row, rendered, limit):
                    break
                grids = []
            if grids:  # not even the first question found room: the picture must come all the same
                task, turn = min(asked, key=lambda one: len(one[1].question) + len(one[1].answer))
                rendered = self.chat.turn(turn, grids=grids, thinking=False, last=True, text_first=False)
                if not self.chat.add(row, rendered, kind.length):
                    raise RuntimeError(f"a picture of {width} x {height} and a question do not fit into {kind.length} tokens")
        return row, drawn

    def tensors(self, rows: list[Row], pixels: list[np.ndarray], length: int) -> dict[str, torch.Tensor]:
        """ids, targets [B, T], positions [3, B, T], feature rows [B, T] and pixels [P, H, W, 3]."""
        count = len(rows)
        ids = np.full((count, length), self.pad, np.int64)
        targets = np.full((count, length), IGNORED, np.int64)
        positions = np.zeros((3, count, length), np.int64)
        places = np.full((count, length), -1, np.int64)
        feature = 0
        for at, row in enumerate(rows):
            size = len(row.ids)
            ids[at, :size] = row.ids
            learned = np.array(row.learned[1:] + [False])
            targets[at, : size - 1] = np.where(learned[:-1], row.ids[1:], IGNORED) if size > 1 else []
            positions[:, at] = text_positions(row, length)
            for start, h, w in row.pictures:
                places[at, start : start + h * w] = np.arange(feature, feature + h * w)
                feature += h * w
        made = {"ids": ids, "targets": targets, "positions": positions}
        if pixels:
            made |= {"rows": places, "pixels": np.stack(pixels)}
        return {name: torch.from_numpy(value) for name, value in made.items()}


def text_positions(row: Row, length: int) -> np.ndarray:
    """Positions [3, length] as `get_rope_index` of transformers gives them; padding goes on counting."""
    found = np.zeros((3, length), np.int64)
    at = position = 0
    for start, h, w in row.pictures:
        found[:, at:start] = position + np.arange(start - at)
        position += start - at
        across = np.arange(h * w)
        found[0, start : start + h * w] = position
        found[1, start : start + h * w] = position + across // w
        found[2, start : start + h * w] = position + across % w
        at, position = start + h * w, position + max(h, w)
    found[:, at:] = position + np.arange(length - at)
    return found
