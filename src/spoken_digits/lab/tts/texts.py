"""Texts to synthesize: digit strings, and sentences with digits, with near words, or with neither.

Near words are no digits, but sound like one. Those in `NEAR_WORDS` can be told from a digit when
said alone. Homophones ("to", "for", "ate", "won") and "oh" as an exclamation cannot: they are only
said in sentences. ``0`` in a text is the digit zero said as "oh", see `phonemes`.
"""

from collections.abc import Sequence

import numpy as np

from spoken_digits.lab.data.corpora import DIGIT_WORDS

__all__ = ["NEAR_WORDS", "draw_digits", "draw_mixed_sentence", "draw_sentence", "draw_string"]

_NEAR_WORDS = """
    fourth fifth sixth seventh eighth ninth tenth once twice third eleven thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy
    eighty ninety hundred tree free through fife hive fine niner nigh sick sticks heaven
    even hate wait ace hero arrow nearer oneself door
"""
NEAR_WORDS = tuple(_NEAR_WORDS.split())
# Homophones of digits, "oh" as an exclamation, and near words in their usual places.
_NEAR_SENTENCES = (
    "i went to the shop to buy a present for my mother",
    "to be honest, it was not for me",
    "this is for you, and that is for your brother",
    "who is it for",
    "they want to talk to the man at the door",
    "she has to go to school, too",
    "too much is too much",
    "he ate the cake before we got to the party",
    "we ate late, and then we had to wait",
    "the dog ate my homework",
    "our team won the game",
    "nobody won, but they all had fun",
    "she won again, for the third time",
    "i won a prize for the best picture",
    "oh, i see what you mean",
    "oh no, not again",
    "oh, that is a pity",
    "oh well, we can do that tomorrow",
    "oh my, what a beautiful garden",
    "oh yes, please",
    "oh, hello, how are you",
    "the fourth of july is a holiday",
    "he lives on the seventh floor",
    "she came in fifth, and he came in ninth",
    "it is the sixth time today",
    "the eighth chapter is the best",
    "seventeen people came to the meeting",
    "there were fourteen chairs and sixteen guests",
    "about a hundred birds sat in the tree",
    "eighteen or nineteen of them were late",
    "it takes sixty minutes, or maybe ninety",
    "the old tree is by the river",
    "a free ticket is fine with me",
    "the weather is fine, and the sky is clear",
    "my brother is sick and has to stay in bed",
    "the hive is full of bees",
    "even in heaven there is music",
    "wait for me at the gate",
    "i would hate to be late",
    "what a hero he was",
    "someone left the door open",
    "everyone knows the answer",
    "once upon a time there was a king",
    "nobody else was nearer",
)
# {} stands for digits.
_MIXED_SENTENCES = (
    "my number is {}",
    "please call me at {}, thank you",
    "the code is {}, i think",
    "it is on page {} of the book",
    "dial {} and wait for the tone",
    "the room is {}, on the left",
    "flight {} leaves from gate {}",
    "bus number {} goes to the station",
    "my address is {} main street",
    "the answer is {}, is it not",
    "enter {} and press the button",
    "so that was {}, and then {}",
    "oh, it was {}, sorry",
    "press {} for help",
    "go to platform {}, please",
    "the last digits are {}, right",
)


def draw_digits(rng: np.random.Generator, count: int, doubled: float = 0.0) -> list[str]:
    """Draw digit words, zero as ``zero`` or ``0``; each repeats the one before with `doubled`."""
    words: list[str] = []
    for _ in range(count):
        if words and rng.random() < doubled:
            words.append(words[-1])
            continue
        word = str(rng.choice(DIGIT_WORDS))
        words.append("0" if word == "zero" and rng.random() < 0.5 else word)
    return words


def draw_string(
    rng: np.random.Generator, min_digits: int, max_digits: int, doubled: float = 0.0
) -> str:
    """Draw a digit string; some are in groups, with commas between them."""
    words = draw_digits(rng, int(rng.integers(min_digits, max_digits + 1)), doubled)
    grouped = rng.random(len(words) - 1) < rng.choice([0.0, 0.3])
    return "".join(
        word + (", " if comma else " ")
        for word, comma in zip(words, [*grouped, False], strict=True)
    ).strip()


def draw_sentence(rng: np.random.Generator, words: Sequence[str]) -> str:
    """Draw a sentence without digits: one with near words, or 6 to 14 of `words`, in clauses."""
    if rng.random() < 0.5:
        return str(rng.choice(_NEAR_SENTENCES)) + str(rng.choice([".", "!", "", "?"]))
    chosen = rng.choice(words, int(rng.integers(6, 15))).tolist()
    commas = rng.random(len(chosen)) < 0.15
    commas[-1] = False
    return " ".join(word + "," * bool(comma) for word, comma in zip(chosen, commas, strict=True))


def draw_mixed_sentence(rng: np.random.Generator, max_digits: int = 4) -> str:
    """Draw a sentence with digits among other words."""
    sentence = str(rng.choice(_MIXED_SENTENCES))
    for _ in range(sentence.count("{}")):
        sentence = sentence.replace("{}", draw_string(rng, 1, max_digits), 1)
    return sentence
