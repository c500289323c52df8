"""Text tasks: each draws a case, one or more turns with known answers.

A task is a function of a `random.Random` and gives a list of turns (question, answer, thought). `thought` is what the model
may write between <think> and </think> first, or None. Every answer follows from what was said before it, but for `talk`,
which is what the model knows by heart.
"""

import random
from typing import NamedTuple

from words import (
    ANIMALS,
    CITIES,
    COLOURS,
    FOODS,
    INSTRUMENTS,
    JOBS,
    NAMES,
    PET_NAMES,
    PLACES,
    SHORT_WORDS,
    SPORTS,
    THINGS,
)


class Turn(NamedTuple):
    """A question, what should be answered, and the reasoning that may stand before."""

    question: str
    answer: str
    thought: str | None = None


def copy_words(rng: random.Random) -> list[Turn]:
    words = rng.choices(SHORT_WORDS + NAMES, k=rng.randint(3, 9))
    text = " ".join(words)
    asked = rng.choice(["Repeat: {}", "Repeat these words: {}", "Say this again: {}", "Copy this: {}"])
    return [Turn(asked.format(text), text)]


def copy_reverse(rng: random.Random) -> list[Turn]:
    words = rng.sample(SHORT_WORDS, rng.randint(2, 5))
    asked = rng.choice(["Reverse the order: {}", "Say these words backwards: {}", "Repeat in reverse order: {}"])
    return [Turn(asked.format(" ".join(words)), " ".join(reversed(words)))]


def sort_numbers(rng: random.Random) -> list[Turn]:
    numbers = rng.sample(range(100), rng.randint(3, 6))
    text = ", ".join(map(str, numbers))
    if rng.random() < 0.75:
        asked = rng.choice(
            ["Sort these numbers: {}", "Sort from small to large: {}", "Put these numbers in order: {}"]
        )
        return [Turn(asked.format(text), ", ".join(map(str, sorted(numbers))))]
    asked = rng.choice(["Sort from large to small: {}", "Put these in falling order: {}"])
    return [Turn(asked.format(text), ", ".join(map(str, sorted(numbers, reverse=True))))]


def sort_words(rng: random.Random) -> list[Turn]:
    letters = rng.sample(sorted({word[0] for word in SHORT_WORDS}), rng.randint(3, 5))
    words = [rng.choice([word for word in SHORT_WORDS if word[0] == letter]) for letter in letters]
    asked = rng.choice(["Sort these words: {}", "Sort by alphabet: {}", "Put in alphabetical order: {}"])
    return [Turn(asked.format(", ".join(words)), ", ".join(sorted(words)))]


def arithmetic_plain(rng: random.Random) -> list[Turn]:
    kind = rng.choice("++--*")
    if kind == "+":
        a, b = rng.randint(0, 99), rng.randint(0, 99)
        result, sign, verb = a + b, "+", "plus"
    elif kind == "-":
        b, a = sorted((rng.randint(0, 99), rng.randint(0, 99)))
        result, sign, verb = a - b, "-", "minus"
    else:
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        result, sign, verb = a * b, rng.choice("*x"), "times"
    asked = rng.choice(["{a} {s} {b} =", "What is {a} {s} {b}?", "What is {a} {v} {b}?", "Calculate {a} {s} {b}."])
    return [Turn(asked.format(a=a, b=b, s=sign, v=verb), str(result), f"{a} {sign} {b} = {result}")]


def arithmetic_story(rng: random.Random) -> list[Turn]:
    name, other = rng.sample(NAMES, 2)
    what = rng.choice(FOODS + ["coins", "books", "balls", "stones", "cards"])
    a, b = rng.randint(2, 60), rng.randint(1, 30)
    if rng.random() < 0.5:
        story = rng.choice([
            "{n} has {a} {w}. {o} gives {n} {b} more.",
            "{n} has {a} {w} and buys {b} more.",
            "There are {a} {w} on the table. {n} puts {b} more on it.",
        ])
        sign, result = "+", a + b
    else:
        a += b
        story = rng.choice([
            "{n} has {a} {w}. {n} gives {b} of them to {o}.",
            "{n} has {a} {w} and loses {b}.",
            "There are {a} {w} on the table. {n} takes {b} of them away.",
        ])
        sign, result = "-", a - b
    asked = rng.choice(["How many {w} are there now?" if "table" in story else "How many {w} does {n} have now?"])
    question = (story + " " + asked).format(n=name, o=other, a=a, b=b, w=what)
    return [Turn(question, str(result), f"{a} {sign} {b} = {result}")]


# What can be said of a person: (sentence, question, values). The sentences of one relation differ, the answer is the value.
RELATIONS = [
    (["{n} lives in {v}.", "{n} has a flat in {v}."], ["Where does {n} live?", "In which city does {n} live?"], CITIES),
    (["{n} works as a {v}.", "{n} is a {v}."], ["What is the job of {n}?", "What does {n} work as?"], JOBS),
    (["{n} likes {v}.", "{n} loves to eat {v}."], ["What does {n} like?", "What does {n} like to eat?"], FOODS),
    (["{n} plays the {v}."], ["Which instrument does {n} play?", "What does {n} play?"], INSTRUMENTS),
    (["{n} has a {v} as a pet.", "The pet of {n} is a {v}."], ["Which pet does {n} have?", "What is the pet of {n}?"], ANIMALS),
    (["{n} spends weekends with {v}.", "The sport of {n} is {v}."], ["Which sport does {n} do?", "What is the sport of {n}?"], SPORTS),
    (["The favourite colour of {n} is {v}."], ["What is the favourite colour of {n}?"], COLOURS),
    (["{n} is {v} years old."], ["How old is {n}?"], [str(age) for age in range(5, 90)]),
]
THING_RELATION = (
    ["The {n} is in the {v}.", "Somebody left the {n} in the {v}.", "You find the {n} in the {v}."],
    ["Where is the {n}?"],
    PLACES,
)


def facts(rng: random.Random, count: int) -> list[tuple[str, str, str]]:
    """So many different facts: (sentence, question, answer)."""
    keys = [(relation, name) for relation in range(len(RELATIONS)) for name in NAMES]
    keys += [(None, thing) for thing in THINGS]
    found = []
    for relation, name in rng.sample(keys, count):
        sentences, questions, values = THING_RELATION if relation is None else RELATIONS[relation]
        value = rng.choice(values)
        found.append((
            rng.choice(sentences).format(n=name, v=value),
            rng.choice(questions).format(n=name),
            value,
        ))
    return found


def paragraph(rng: random.Random, count: int, questions: int) -> list[Turn]:
    """Facts, then questions about some; the first question comes with the paragraph."""
    known = facts(rng, count)
    text = " ".join(sentence for sentence, _, _ in known)
    asked = rng.sample(known, min(questions, count))
    turns = []
    for at, (sentence, question, answer) in enumerate(asked):
        if at == 0:
            order = rng.random()
            question = f"{text}\n{question}" if order < 0.7 else f"{text} {question}" if order < 0.85 else f"{question}\n{text}"
        turns.append(Turn(question, answer, sentence))
    return turns


def lookup(rng: random.Random) -> list[Turn]:
    return paragraph(rng, rng.randint(2, 14), 3)


def lookup_long(rng: random.Random) -> list[Turn]:
    """A paragraph of about 700 to 950 tokens."""
    return paragraph(rng, rng.randint(80, 105), 6)


def dialogue(rng: random.Random) -> list[Turn]:
    """Somebody tells things over several turns, may change their mind, and asks about them."""
    slots = {
        "name": (["My name is {}.", "I am {}.", "Call me {}."], ["What is my name?", "Who am I?"], NAMES),
        "city": (["I live in {}.", "My home is in {}."], ["Where do I live?", "In which city do I live?"], CITIES),
        "job": (["I work as a {}.", "My job: {}."], ["What is my job?", "What do I work as?"], JOBS),
        "pet": (["My pet is called {}.", "I have a pet, {}."], ["What is my pet called?", "What is the name of my pet?"], PET_NAMES),
        "food": (["I like {}.", "My favourite food: {}."], ["What do I like?", "What is my favourite food?"], FOODS),
        "colour": (["My favourite colour is {}."], ["What is my favourite colour?"], COLOURS),
        "age": (["I am {} years old."], ["How old am I?"], [str(age) for age in range(8, 80)]),
        "sport": (["My sport is {}."], ["What is my sport?", "Which sport do I do?"], SPORTS),
    }
    known: dict[str, str] = {}
    turns: list[Turn] = []
    for _ in range(rng.randint(1, 4)):
        told = rng.sample(sorted(slots), rng.randint(1, 2))
        sentences = []
        for slot in told:
            value = rng.choice(slots[slot][2])
            sentences.append(rng.choice(slots[slot][0]).format(value))
            known[slot] = value
        reply = f"Nice to meet you, {known['name']}." if "name" in told else "I will remember that."
        turns.append(Turn(" ".join(sentences), reply))
        while known and rng.random() < 0.4:
            slot = rng.choice(sorted(known))
            turns.append(Turn(rng.choice(slots[slot][1]), known[slot]))
    slot = rng.choice(sorted(known))
    turns.append(Turn(rng.choice(slots[slot][1]), known[slot]))
    return turns


TALK = [
    (["Who are you?", "What are you?", "What is your name?", "Tell me about yourself."],
     "I am nano, a very small language model. I run inside this page, and nothing you say leaves it."),
    (["What can you do?", "How can you help me?", "Help", "What can I ask you?"],
     "I can tell shapes, colours, numbers and simple charts in pictures, look up facts in a text, sort, copy and calculate."),
    (["Hello", "Hi", "Hello!", "Hi there", "Hey", "Good morning", "Good evening"], "Hello! What shall we look at?"),
    (["How are you?", "How do you do?"], "I am fine, thank you. I have only five million parameters, so I am never tired."),
    (["Thank you", "Thanks", "Thank you!", "Thanks a lot"], "You are welcome."),
    (["Bye", "Goodbye", "See you"], "Goodbye!"),
    (["Where do you run?", "Do you need a server?", "Are you in the cloud?"],
     "I run on your own device, on its GPU if it has one. There is no server."),
    (["How big are you?", "How many parameters do you have?"], "I have about five million parameters."),
    (["Who made you?", "Where do you come from?"], "I was trained by the qwenc project, to test its compiler."),
    (["What is qwenc?", "Tell me about qwenc."], "qwenc compiles language models ahead of time, so that they run inside a web page."),
    (["Tell me a joke", "Tell me a joke.", "Do you know a joke?"],
     "Why did the shader cross the road? To reach the other workgroup."),
    (["What is the meaning of life?", "Write a poem about the sea.", "Who won the game yesterday?", "What is the capital of France?",
      "Translate this to German.", "What is the weather like?"],
     "I am too small to know that."),
]  # fmt: skip


def talk(rng: random.Random) -> list[Turn]:
    asked, answer = rng.choice(TALK)
    return [Turn(rng.choice(asked), answer)]


TEXT_TASKS = {
    "copy-words": copy_words,
    "copy-reverse": copy_reverse,
    "sort-numbers": sort_numbers,
    "sort-words": sort_words,
    "arithmetic-plain": arithmetic_plain,
    "arithmetic-story": arithmetic_story,
    "lookup-short": lookup,
    "lookup-long": lookup_long,
    "dialogue": dialogue,
    "talk": talk,
}
