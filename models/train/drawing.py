"""Draws what the picture tasks ask about: scenes of shapes, written text, charts. Pillow, anti-aliased by drawing larger.

A picture is a Pillow image in RGB whose sides are multiples of 32, so that the preprocessor leaves it as it is.
"""

import functools
import math
import os
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from words import DRAWN_COLOURS, SHAPES

SCALE = 2
"""Pictures are drawn this many times larger, then shrunk."""

BACKGROUNDS = [(255, 255, 255), (250, 246, 235), (236, 242, 248), (243, 243, 243), (232, 244, 232)]

FONT_FOLDERS = ["/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/truetype/liberation", "/usr/share/fonts/truetype/freefont"]
FONTS = [
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf",
    "LiberationSans-Regular.ttf", "LiberationSerif-Regular.ttf", "LiberationMono-Bold.ttf", "LiberationSans-Bold.ttf",
    "FreeSans.ttf", "FreeSerif.ttf", "FreeMonoBold.ttf",
]  # fmt: skip


@functools.cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of Debian's packages fonts-dejavu, fonts-liberation and fonts-freefont-ttf, by file name; NANO_FONTS may name
    another folder."""
    for folder in [os.environ.get("NANO_FONTS", "."), *FONT_FOLDERS]:
        if (Path(folder) / name).is_file():
            return ImageFont.truetype(str(Path(folder) / name), size)
    raise SystemExit(f"the font {name} is missing: apt-get install fonts-dejavu fonts-liberation fonts-freefont-ttf")


@dataclass(frozen=True)
class Item:
    """A shape in a scene; the centre and the radius are in parts of the picture's shorter side, from the top left."""

    shape: str
    colour: str
    big: bool
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def full_name(self) -> str:
        return f"{'big' if self.big else 'small'} {self.name}"


@dataclass(frozen=True)
class Scene:
    """Shapes that do not touch, on a picture of so many pixels."""

    width: int
    height: int
    items: tuple[Item, ...]

    def cell(self, item: Item) -> tuple[int, int]:
        """Row and column of the item's centre in a grid of three by three."""
        unit = min(self.width, self.height)
        return min(2, int(3 * item.y * unit / self.height)), min(2, int(3 * item.x * unit / self.width))

    def margin(self, item: Item) -> float:
        """How far the centre is from the nearest border between two cells, in parts of the picture."""
        unit = min(self.width, self.height)
        parts = (item.y * unit / self.height, item.x * unit / self.width)
        return min(abs(part - border) for part in parts for border in (1 / 3, 2 / 3))


def scene(rng: random.Random, width: int, height: int, count: int, *, distinct: str | None = None) -> Scene:
    """A scene of at most `count` shapes: fewer where there is no room. `distinct` can be "name": no two of one shape and colour."""
    unit = min(width, height)
    items: list[Item] = []
    for _ in range(count * 30):
        if len(items) == count:
            break
        big = rng.random() < 0.5
        radius = rng.uniform(0.135, 0.165) if big else rng.uniform(0.06, 0.08)
        item = Item(
            rng.choice(SHAPES), rng.choice(list(DRAWN_COLOURS)), big,
            rng.uniform(radius, width / unit - radius), rng.uniform(radius, height / unit - radius), radius,
        )  # fmt: skip
        if any(math.hypot(item.x - o.x, item.y - o.y) < item.radius + o.radius + 0.025 for o in items):
            continue
        if distinct == "name" and any(o.name == item.name for o in items):
            continue
        items.append(item)
    return Scene(width, height, tuple(items))


def _points(shape: str, x: float, y: float, r: float, turn: float) -> list[tuple[float, float]]:
    def at(angle: float, radius: float) -> tuple[float, float]:
        return x + radius * math.sin(angle), y - radius * math.cos(angle)

    if shape == "triangle":
        return [at(turn + k * 2 * math.pi / 3, r) for k in range(3)]
    if shape == "star":
        return [at(turn + k * math.pi / 5, r if k % 2 == 0 else r * 0.42) for k in range(10)]
    if shape == "diamond":
        return [(x, y - r), (x + 0.62 * r, y), (x, y + r), (x - 0.62 * r, y)]
    if shape == "square":
        side = r * 0.85
        return [(x - side, y - side), (x + side, y - side), (x + side, y + side), (x - side, y + side)]
    if shape == "cross":
        a, b = r, r * 0.32
        return [(x - b, y - a), (x + b, y - a), (x + b, y - b), (x + a, y - b), (x + a, y + b), (x + b, y + b),
                (x + b, y + a), (x - b, y + a), (x - b, y + b), (x - a, y + b), (x - a, y - b), (x - b, y - b)]  # fmt: skip
    assert shape == "heart"
    outline = []
    for k in range(40):
        t = 2 * math.pi * k / 40
        outline.append((
            x + r * math.sin(t) ** 3,
            y - r * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        ))
    return outline


def draw_scene(rng: random.Random, drawn: Scene) -> Image.Image:
    background = rng.choice(BACKGROUNDS)
    image = Image.new("RGB", (drawn.width * SCALE, drawn.height * SCALE), background)
    draw = ImageDraw.Draw(image)
    unit = min(drawn.width, drawn.height) * SCALE
    for item in drawn.items:
        x, y, r = item.x * unit, item.y * unit, item.radius * unit
        colour = tuple(min(255, max(0, value + rng.randint(-12, 12))) for value in DRAWN_COLOURS[item.colour])
        box = (x - 0.92 * r, y - 0.92 * r, x + 0.92 * r, y + 0.92 * r)
        if item.shape == "circle":
            draw.ellipse(box, fill=colour)
        elif item.shape == "ring":
            draw.ellipse(box, outline=colour, width=max(2, int(0.32 * r)))
        else:
            turn = rng.uniform(-0.15, 0.15)
            draw.polygon(_points(item.shape, x, y, r, turn), fill=colour)
    return image.resize((drawn.width, drawn.height), Image.Resampling.BOX)


def draw_text(rng: random.Random, width: int, height: int, text: str) -> Image.Image:
    """One word or number in one of several fonts, at a random place, as large as a fifth of the height or more."""
    dark = rng.choice([(20, 20, 20), (20, 40, 120), (140, 20, 20), (20, 90, 40), (90, 30, 110)])
    light = rng.choice(BACKGROUNDS)
    ink, paper = (light, dark) if rng.random() < 0.15 else (dark, light)
    image = Image.new("RGB", (width * SCALE, height * SCALE), paper)
    draw = ImageDraw.Draw(image)
    name = rng.choice(FONTS)
    limit = 0.94 * width * SCALE
    low, high = 0.2, 0.75 if len(text) < 3 else 0.5
    size = int(rng.uniform(low, high) * height * SCALE)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font(name, size))
    if right - left > limit:
        size = int(size * limit / (right - left))
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font(name, size))
    room_x, room_y = width * SCALE - (right - left), height * SCALE - (bottom - top)
    x, y = rng.uniform(0.02, 0.98) * room_x - left, rng.uniform(0.02, 0.98) * room_y - top
    draw.text((x, y), text, font=font(name, size), fill=ink)
    return image.resize((width, height), Image.Resampling.BOX)


def draw_bars(rng: random.Random, width: int, height: int, bars: list[tuple[str, str, int]], *, values: bool) -> Image.Image:
    """A bar chart of (label, colour, value 1..20), labels below, with the values above where asked for."""
    image = Image.new("RGB", (width * SCALE, height * SCALE), rng.choice(BACKGROUNDS))
    draw = ImageDraw.Draw(image)
    w, h = width * SCALE, height * SCALE
    small = font(rng.choice(["DejaVuSans.ttf", "LiberationSans-Regular.ttf", "DejaVuSans-Bold.ttf"]), int(0.115 * min(w, h)))
    floor, top, slot = 0.83 * h, 0.15 * h, 0.94 * w / len(bars)
    for at, (label, colour, value) in enumerate(bars):
        middle = 0.03 * w + (at + 0.5) * slot
        half = 0.32 * slot
        y = floor - (floor - top) * value / 20
        draw.rectangle((middle - half, y, middle + half, floor), fill=DRAWN_COLOURS[colour])
        draw.text((middle, floor + 0.02 * h), label, font=small, fill=(20, 20, 20), anchor="ma")
        if values:
            draw.text((middle, y - 0.01 * h), str(value), font=small, fill=(20, 20, 20), anchor="md")
    draw.line((0.02 * w, floor, 0.98 * w, floor), fill=(60, 60, 60), width=2 * SCALE)
    return image.resize((width, height), Image.Resampling.BOX)


def draw_line(rng: random.Random, width: int, height: int, points: list[float], colour: str) -> Image.Image:
    """A line chart of values 0..1 with axes."""
    image = Image.new("RGB", (width * SCALE, height * SCALE), rng.choice(BACKGROUNDS))
    draw = ImageDraw.Draw(image)
    w, h = width * SCALE, height * SCALE
    left, right, top, bottom = 0.1 * w, 0.94 * w, 0.08 * h, 0.88 * h
    draw.line((left, top, left, bottom, right, bottom), fill=(60, 60, 60), width=2 * SCALE)
    path = [(left + (right - left) * k / (len(points) - 1), bottom - (bottom - top) * value) for k, value in enumerate(points)]
    draw.line(path, fill=DRAWN_COLOURS[colour], width=2 * SCALE + rng.randint(0, 3), joint="curve")
    for x, y in path:
        r = 2.5 * SCALE
        draw.ellipse((x - r, y - r, x + r, y + r), fill=DRAWN_COLOURS[colour])
    return image.resize((width, height), Image.Resampling.BOX)
