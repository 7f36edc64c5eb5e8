"""A tiny seeded generator: no model, no network, the same text for the same prompt and seed.

A question it knows is answered from a small table of facts. Each fact has a steadiness: one that is
fully steady is answered alike for every seed, a shakier one is missed by some seeds, so that branches
disagree as those of a real model do. Anything else is answered by a first-order Markov chain over a
built-in text, begun with a word of the prompt where the chain has one.
"""

import hashlib
import random
import re

# keywords that must all occur -> (answer, wrong answers, misses out of 100)
FACTS = (
    (("capital", "france"), "Paris", ("Lyon", "Marseille"), 0),
    (("capital", "italy"), "Rome", ("Milan", "Turin"), 0),
    (("capital", "spain"), "Madrid", ("Barcelona",), 0),
    (("capital", "germany"), "Berlin", ("Bonn", "Munich"), 5),
    (("capital", "japan"), "Tokyo", ("Kyoto", "Osaka"), 5),
    (("capital", "australia"), "Canberra", ("Sydney", "Melbourne"), 45),
    (("capital", "canada"), "Ottawa", ("Toronto", "Montreal"), 35),
    (("colour", "sky"), "Blue", ("Grey",), 0),
    (("color", "sky"), "Blue", ("Grey",), 0),
    (("color", "grass"), "Green", ("Yellow",), 0),
    (("opposite", "hot"), "Cold", ("Warm",), 0),
    (("opposite", "up"), "Down", ("Left",), 0),
    (("days", "week"), "7", ("5",), 0),
    (("months", "year"), "12", ("10",), 0),
    (("legs", "spider"), "8", ("6",), 10),
    (("legs", "dog"), "4", ("2",), 0),
    (("planet", "red"), "Mars", ("Venus", "Jupiter"), 5),
    (("largest", "planet"), "Jupiter", ("Saturn",), 10),
    (("author", "hamlet"), "William Shakespeare", ("Christopher Marlowe",), 5),
    (("wrote", "hamlet"), "William Shakespeare", ("Christopher Marlowe",), 5),
    (("chemical", "water"), "H2O", ("HO2",), 0),
    (("freezing", "water"), "0", ("32",), 30),
)

CORPUS = (
    "the hive keeps a ledger and the ledger keeps the hive honest . "
    "a worker may guess but the keeper may not . "
    "every answer is written down before it is spoken . "
    "when the workers agree the keeper speaks and when they differ the keeper waits . "
    "a careful hive counts its voices and writes the count beside the answer . "
    "the answer is short and the record is long . "
    "what was written stays written and what was removed is counted ."
)

MAX_WORDS = 24

_SUM = re.compile(r"(?<![\w.])(\d{1,9})\s*(\+|-|\*|x|times|plus|minus)\s*(\d{1,9})(?![\w.])")


def _chain():
    words = CORPUS.split()
    follows = {}
    for word, following in zip(words, words[1:]):
        follows.setdefault(word, []).append(following)
    return follows


_FOLLOWS = _chain()


def _random(prompt, seed):
    # Not hash(): that differs between processes.
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "replace")).digest()
    return random.Random(int.from_bytes(digest, "big"))


def _fact(words, rng):
    for keywords, answer, wrong, misses in FACTS:
        if all(word in words for word in keywords):
            return rng.choice(wrong) if rng.randrange(100) < misses else answer
    return None


def _arithmetic(prompt, rng):
    found = _SUM.search(prompt)
    if not found:
        return None
    left, operator, right = int(found[1]), found[2], int(found[3])
    if operator in ("+", "plus"):
        result = left + right
    elif operator in ("-", "minus"):
        result = left - right
    else:
        result = left * right
    # Longer numbers are harder, as they are for a small model.
    misses = 0 if max(left, right) < 100 else 40
    return str(result + rng.choice((-10, 1, 10)) if rng.randrange(100) < misses else result)


def _babble(words, rng):
    known = [word for word in words if word in _FOLLOWS]
    word = known[-1] if known else rng.choice(sorted(_FOLLOWS))
    text = [word]
    while len(text) < MAX_WORDS:
        word = rng.choice(_FOLLOWS.get(word, ["."]))
        if word == ".":
            break
        text.append(word)
    return " ".join(text).capitalize() + "."


def generate(prompt, *, seed, branch):
    """The answer of this seed; ``branch`` plays no part."""
    rng = _random(prompt, seed)
    lowered = prompt.lower()
    words = re.findall(r"[a-z]+", lowered)
    return _arithmetic(lowered, rng) or _fact(set(words), rng) or _babble(words, rng)
