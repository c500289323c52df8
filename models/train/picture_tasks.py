"""Picture tasks: a picture and questions about it with known answers.

A picture kind draws one picture and gives every question that has one clear answer, as (task, turn). Questions that a person
would have to guess at (a shape on the border between left and middle) are not asked.
"""

import random

from PIL import Image

import drawing
from drawing import Scene
from text_tasks import Turn
from words import DRAWN_COLOURS, POSITIONS, SHAPES, SHORT_WORDS, plural

Asked = tuple[str, Turn]


def a(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def _count(rng: random.Random, seen: Scene) -> list[Asked]:
    items = seen.items
    turns = [("count-all", Turn(
        rng.choice(["How many shapes are there?", "How many shapes do you see?", "Count the shapes."]),
        str(len(items)), ", ".join(item.name for item in items)))]  # fmt: skip
    shapes = [item.shape for item in items]
    shape = rng.choice(shapes if rng.random() < 0.8 else SHAPES)
    these = [item.name for item in items if item.shape == shape]
    turns.append(("count-shape", Turn(
        rng.choice(["How many {} are there?", "How many {} do you see?", "Count the {}."]).format(plural(shape)),
        str(len(these)), ", ".join(these) or "none")))  # fmt: skip
    colour = rng.choice([item.colour for item in items] if rng.random() < 0.8 else list(DRAWN_COLOURS))
    these = [item.name for item in items if item.colour == colour]
    turns.append(("count-colour", Turn(
        rng.choice(["How many {} shapes are there?", "How many shapes are {}?", "Count the {} shapes."]).format(colour),
        str(len(these)), ", ".join(these) or "none")))  # fmt: skip
    return turns


def _exists(rng: random.Random, seen: Scene) -> list[Asked]:
    item = rng.choice(seen.items)
    if rng.random() < 0.5:
        name = item.name
    else:  # half the truth, most of the time
        name = rng.choice([
            f"{rng.choice(list(DRAWN_COLOURS))} {item.shape}",
            f"{item.colour} {rng.choice(SHAPES)}",
            f"{rng.choice(list(DRAWN_COLOURS))} {rng.choice(SHAPES)}",
        ])
    answer = "yes" if any(name == other.name for other in seen.items) else "no"
    return [("exists", Turn(rng.choice(["Is there {}?", "Do you see {}?", "Is {} in the picture?"]).format(a(name)), answer))]


def _one(rng: random.Random, seen: Scene) -> list[Asked]:
    """Questions about a shape that can be told by its shape, its colour, or both."""
    items, turns = seen.items, []
    shapes, colours, names = ([getattr(i, key) for i in items] for key in ("shape", "colour", "name"))
    alone = [item for item in items if shapes.count(item.shape) == 1]
    if alone:
        item = rng.choice(alone)
        turns.append(("colour", Turn(
            rng.choice(["What colour is the {}?", "Which colour has the {}?", "The {} has which colour?"]).format(item.shape),
            item.colour)))  # fmt: skip
    alone = [item for item in items if colours.count(item.colour) == 1]
    if alone:
        item = rng.choice(alone)
        turns.append(("shape", Turn(
            rng.choice(["Which shape is {}?", "What is {}?", "Which shape has the colour {}?"]).format(item.colour),
            item.shape)))  # fmt: skip
    alone = [item for item in items if names.count(item.name) == 1]
    if alone:
        item = rng.choice(alone)
        called = item.shape if shapes.count(item.shape) == 1 and rng.random() < 0.6 else item.name
        turns.append(("size", Turn(
            rng.choice(["Is the {} big or small?", "What size is the {}?", "Is the {} small or big?"]).format(called),
            "big" if item.big else "small")))  # fmt: skip
        clear = [item for item in alone if seen.margin(item) > 0.035]
        if clear:
            item = rng.choice(clear)
            called = item.shape if shapes.count(item.shape) == 1 and rng.random() < 0.6 else item.name
            row, column = seen.cell(item)
            turns.append(("position", Turn(
                rng.choice(["Where is the {}?", "Where in the picture is the {}?"]).format(called),
                POSITIONS[row][column])))  # fmt: skip
    return turns


def _relation(rng: random.Random, seen: Scene) -> list[Asked]:
    """Is one shape left of, right of, above or below another one?"""
    items, turns = seen.items, []
    shapes, names = [item.shape for item in items], [item.name for item in items]
    alone = [item for item in items if names.count(item.name) == 1]
    for _ in range(2):
        if len(alone) < 2:
            break
        one, other = rng.sample(alone, 2)
        kinds = []
        if abs(one.x - other.x) > 0.1:
            kinds.append(("left of", one.x < other.x))
            kinds.append(("right of", one.x > other.x))
        if abs(one.y - other.y) > 0.1:
            kinds.append(("above", one.y < other.y))
            kinds.append(("below", one.y > other.y))
        if not kinds:
            continue
        kind, holds = rng.choice(kinds)
        called = [i.shape if shapes.count(i.shape) == 1 and rng.random() < 0.5 else i.name for i in (one, other)]
        turns.append(("relation", Turn(f"Is the {called[0]} {kind} the {called[1]}?", "yes" if holds else "no")))
    return turns


def _describe(rng: random.Random, seen: Scene) -> list[Asked]:
    """All shapes from left to right; not where two are as far left."""
    items = sorted(seen.items, key=lambda item: item.x)
    if len(items) > 4 or any(right.x - left.x < 0.06 for left, right in zip(items, items[1:])):
        return []
    asked = rng.choice(["Describe the picture.", "What do you see?", "What is in the picture?", "Describe this image."])
    return [("describe", Turn(asked, ", ".join(a(item.full_name) for item in items)))]


def scene(rng: random.Random, width: int, height: int) -> tuple[Image.Image, list[Asked]]:
    count = rng.choice([1, 2, 3, 3, 4, 4, 5, 6, 7, 8])
    seen = drawing.scene(rng, width, height, count)
    turns = _count(rng, seen) + _exists(rng, seen) + _one(rng, seen) + _relation(rng, seen) + _describe(rng, seen)
    return drawing.draw_scene(rng, seen), turns


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def number(rng: random.Random, width: int, height: int) -> tuple[Image.Image, list[Asked]]:
    text = str(rng.randint(0, 10 ** rng.randint(1, 4) - 1))
    asked = rng.choice(["Which number is this?", "What number do you see?", "Read the number.", "What does it say?"])
    return drawing.draw_text(rng, width, height, text), [("number", Turn(asked, text))]


def letter(rng: random.Random, width: int, height: int) -> tuple[Image.Image, list[Asked]]:
    text = rng.choice(LETTERS)
    asked = rng.choice(["Which letter is this?", "What letter do you see?", "Read the letter.", "What does it say?"])
    return drawing.draw_text(rng, width, height, text), [("letter", Turn(asked, text))]


def word(rng: random.Random, width: int, height: int) -> tuple[Image.Image, list[Asked]]:
    text = rng.choice(SHORT_WORDS)
    drawn = rng.choice([text, text, text.upper()])
    asked = rng.choice(["Which word is this?", "What does it say?", "Read the word.", "What is written here?"])
    return drawing.draw_text(rng, width, height, drawn), [("word", Turn(asked, text))]


def bars(rng: random.Random, width: int, height: int) -> tuple[Image.Image, list[Asked]]:
    count = rng.randint(2, 5)
    labels = list(LETTERS[:count]) if rng.random() < 0.6 else rng.sample(LETTERS, count)
    colours = rng.sample(list(DRAWN_COLOURS), count)
    sizes: list[int] = []
    while len(sizes) < count:
        value = rng.randint(1, 20)
        if all(abs(value - size) > 1 for size in sizes):
            sizes.append(value)
    shown = list(zip(labels, colours, sizes))
    values = rng.random() < 0.6
    image = drawing.draw_bars(rng, width, height, shown, values=values)
    highest, lowest = max(shown, key=lambda bar: bar[2]), min(shown, key=lambda bar: bar[2])
    turns = [
        ("chart-highest", Turn(rng.choice(["Which bar is the highest?", "Which bar is the tallest?"]), highest[0])),
        ("chart-lowest", Turn(rng.choice(["Which bar is the lowest?", "Which bar is the shortest?"]), lowest[0])),
        ("chart-bars", Turn(rng.choice(["How many bars are there?", "Count the bars."]), str(count))),
    ]
    label, colour, value = rng.choice(shown)
    turns.append(("chart-colour", Turn(rng.choice(["What colour is bar {}?", "Which colour has bar {}?"]).format(label), colour)))
    if values:
        label, _, value = rng.choice(shown)
        asked = rng.choice(["What is the value of bar {}?", "How much is bar {}?", "What value has {}?"]).format(label)
        turns.append(("chart-value", Turn(asked, str(value))))
    return image, turns


def trend(rng: random.Random, width: int, height: int) -> tuple[Image.Image, list[Asked]]:
    count = rng.randint(4, 9)
    kind = rng.choice(["rises", "falls", "stays flat"])
    slope = {"rises": 1.0, "falls": -1.0, "stays flat": 0.0}[kind] * rng.uniform(0.45, 0.85)
    middle = rng.uniform(0.45, 0.55) if slope else rng.uniform(0.2, 0.8)
    points = [
        min(1.0, max(0.0, middle + slope * (k / (count - 1) - 0.5) + rng.uniform(-0.05, 0.05))) for k in range(count)
    ]
    colour = rng.choice(list(DRAWN_COLOURS))
    turns = [
        ("chart-trend", Turn(rng.choice(["Does the line rise or fall?", "What does the line do?", "What is the trend?"]), kind)),
        ("chart-line", Turn(rng.choice(["What colour is the line?", "Which colour has the line?"]), colour)),
    ]
    return drawing.draw_line(rng, width, height, points, colour), turns


# Picture kinds with how often each is drawn in training.
PICTURE_KINDS = [(scene, 0.56), (number, 0.09), (letter, 0.04), (word, 0.15), (bars, 0.12), (trend, 0.04)]
PICTURE_TASKS = [
    "count-all", "count-shape", "count-colour", "exists", "colour", "shape", "size", "position", "relation", "describe",
    "number", "letter", "word", "chart-highest", "chart-lowest", "chart-bars", "chart-colour", "chart-value", "chart-trend",
    "chart-line",
]  # fmt: skip
# The questions that take longest to learn are asked first, and so most often.
HARD = {"relation": 3.0, "describe": 2.0, "position": 1.5, "count-all": 1.5, "count-shape": 1.5, "count-colour": 1.5}
HARDER = HARD | {"relation": 6.0, "position": 6.0, "count-shape": 2.5}
"""Where training goes on with a trained model, or has come far: see FOCUS_FROM in data.py."""


def draw(rng: random.Random, width: int, height: int, hard: dict[str, float]) -> tuple[Image.Image, list[Asked]]:
    """A picture of a random kind, and its questions in random order, the hard ones rather first."""
    kinds, weights = zip(*PICTURE_KINDS)
    image, turns = rng.choices(kinds, weights)[0](rng, width, height)
    keyed = [(rng.random() ** (1 / hard.get(task, 1.0)), at) for at, (task, _) in enumerate(turns)]
    return image, [turns[at] for _, at in sorted(keyed, reverse=True)]
