"""Cases that training never draws: single questions from generators with seeds of their own."""

import random
from typing import NamedTuple

from PIL import Image

import picture_tasks
from text_tasks import TEXT_TASKS, Turn

SIZES = [(128, 128), (160, 192), (192, 160), (224, 224), (128, 256)]


class Case(NamedTuple):
    """Turns, the last of which is asked; the picture belongs to the first one."""

    task: str
    turns: list[Turn]
    image: Image.Image | None


def cases(task: str, count: int):
    """So many cases of a task, always the same ones."""
    for number in range(count):
        rng = random.Random(f"held out/{task}/{number}")
        yield text_case(task, rng) if task in TEXT_TASKS else picture_case(task, rng)


def text_case(task: str, rng: random.Random) -> Case:
    turns = TEXT_TASKS[task](rng)
    # A paragraph's later questions would do without the first answer: ask one of them as often as the first.
    if task.startswith("lookup"):
        turns = turns[: rng.randint(1, len(turns))]
    return Case(task, turns, None)


def picture_case(task: str, rng: random.Random) -> Case:
    height, width = rng.choice(SIZES)
    kinds, weights = zip(*picture_tasks.PICTURE_KINDS)
    while True:
        image, asked = rng.choices(kinds, weights)[0](rng, width, height)
        found = [turn for name, turn in asked if name == task]
        if found:
            return Case(task, [found[0]], image)


def all_tasks() -> list[str]:
    return picture_tasks.PICTURE_TASKS + list(TEXT_TASKS)
