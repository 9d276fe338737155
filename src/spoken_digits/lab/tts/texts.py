"""Texts to synthesize: digit strings, and sentences with digits, with near words, or with neither.

"double" and "triple" say a digit twice or three times. `NUMBER_WORDS` make a digit beside them part
of a number ("two hundred", "twenty five"): such a digit is none to be transcribed.

Near words are no digits, but sound like one. Those in `NEAR_WORDS` can be told from a digit when
said alone. Homophones ("to", "for", "ate", "won") and "oh" as an exclamation cannot: they are only
said in sentences. ``0`` in a text is the digit zero said as "oh", see `phonemes`.
"""

from collections.abc import Iterable, Sequence
from string import ascii_lowercase

import numpy as np

from spoken_digits.lab.data.corpora import DIGIT_WORDS

__all__ = [
    "MULTIPLIERS",
    "NEAR_WORDS",
    "NUMBER_WORDS",
    "draw_digits",
    "draw_letters",
    "draw_made_up_words",
    "draw_mixed_sentence",
    "draw_number",
    "draw_sentence",
    "draw_string",
    "draw_words",
    "labels_of",
]

MULTIPLIERS = {"double": 2, "triple": 3}
_TEENS = [
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ("hundred", "thousand", "million")
NUMBER_WORDS = frozenset((*_TEENS, *_TENS, *_SCALES))
_LABELS = (
    dict.fromkeys(NUMBER_WORDS, "number")
    | {word: word for word in ("oh", *MULTIPLIERS)}
    | {word: str(digit) for digit, word in enumerate(DIGIT_WORDS)}
)

_NEAR_WORDS = """
    fourth fifth sixth seventh eighth ninth tenth once twice third eleven thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy
    eighty ninety hundred tree free through fife hive fine niner nigh sick sticks heaven
    even hate wait ace hero arrow nearer oneself door
"""
# More words that share sounds with digits, or are said to telephones. They are said among others,
# in `draw_words`.
_MORE_WORDS = """
    minus plus star pound hash today tonight tomorrow tube tool team tea teach toe true threat
    thread tray fry frame throw threw ford fort force form forth flour flower
    floor more door file find fire fight life alive dive drive sit sticks sixes fix
    mix kicks kiss several settle savage late gate date
    weight state great it aid edge line mine sign shine nice night nigh knife none noon one's
    run gun fun son done once wonder want was what when zeros zebra euro narrow pharaoh row
    go no know so low home open over own old alone hello yes yeah okay stop start cancel help
    operator repeat please thanks goodbye right left up down on off back forward wow
"""
NEAR_WORDS = tuple(_NEAR_WORDS.split())
_MORE = tuple(_MORE_WORDS.split())
# Parts of made-up words. A network that rejects them has learned the digits, not a list of others.
_ONSETS = """
    b d f g h j k l m n p r s t v w y z bl br ch dr fl fr gl gr kl kr pl pr sh sk sl sm sn sp st str
    sw th thr tr tw
"""
_NUCLEI = "a e i o u ee ay oa oo ow oy ar er or igh"
_CODAS = "b ch d f g k l m n nd nk nt ng p s sk st t th v x z"
_SYLLABLE = ((*_ONSETS.split(), ""), (*_NUCLEI.split(),), (*_CODAS.split(), "", ""))
# What would be a digit: whole words, and beginnings of "seven" and "zero".
_LIKE_DIGITS = frozenset(
    ("o", "oa", "ow", "won", "wun", "two", "twoo", "too", "three", "for", "fighv", "six", "ayt")
)
_BEGIN_LIKE_DIGITS = ("nighn", "sev", "zee", "zer", "zi")
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
# {} stands for a number that is no string of digits.
_NUMBER_SENTENCES = (
    "it costs {} dollars",
    "there were {} of them",
    "the year was {}",
    "about {} people came",
    "he is {} years old",
    "{} percent",
    "{}",
    "turn right after {} miles",
)


def labels_of(words: Iterable[str]) -> tuple[str, ...]:
    """Return the label of `spotting.LABELS` that each word has; "oh" here is the digit."""
    return tuple(_LABELS.get(word, "other") for word in words)


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
    rng: np.random.Generator,
    min_digits: int,
    max_digits: int,
    doubled: float = 0.0,
    multiplied: float = 0.0,
) -> str:
    """Draw a digit string; some are in groups, with commas between them.

    Each digit repeats the one before with probability `doubled`, and has "double" or "triple"
    before it with probability `multiplied`.
    """
    words = draw_digits(rng, int(rng.integers(min_digits, max_digits + 1)), doubled)
    grouped = rng.random(len(words) - 1) < rng.choice([0.0, 0.3])
    if multiplied:
        names = rng.choice(sorted(MULTIPLIERS), len(words), p=(0.7, 0.3))
        said = rng.random(len(words)) < multiplied
        words = [f"{n} {w}" if m else w for n, w, m in zip(names, words, said, strict=True)]
    return "".join(
        word + (", " if comma else " ")
        for word, comma in zip(words, [*grouped, False], strict=True)
    ).strip()


def draw_number(rng: np.random.Generator) -> str:
    """Draw a number that is no string of digits: "seventeen", "two hundred and five", ..."""
    teen, ten, *digits = (
        str(rng.choice(words)) for words in (_TEENS, _TENS, *[DIGIT_WORDS[1:]] * 3)
    )
    below_100 = str(rng.choice([teen, ten, f"{ten} {digits[0]}"]))
    hundreds = f"{digits[1]} {rng.choice(_SCALES[:2])}"
    number = rng.choice(
        [below_100, hundreds, f"{hundreds} {below_100}", f"{hundreds} and {below_100}",
         f"{teen} {below_100}", f"{digits[2]} million"],
        p=[0.5, 0.15, 0.1, 0.1, 0.1, 0.05],
    )  # fmt: skip
    return str(number)


def draw_letters(rng: np.random.Generator) -> str:
    """Draw 3 to 9 letters of the alphabet, as a name is spelled."""
    return " ".join(rng.choice(list(ascii_lowercase), int(rng.integers(3, 10))).tolist())


def draw_made_up_words(rng: np.random.Generator) -> str:
    """Draw 2 to 5 words that are none, with pauses between, a third of them near words instead."""
    chosen: list[str] = []
    for _ in range(int(rng.integers(2, 6))):
        if rng.random() < 1 / 3:
            chosen.append(str(rng.choice((NEAR_WORDS, _MORE)[rng.integers(2)])))
            continue
        word = ""
        while not word or word in _LIKE_DIGITS or word.startswith(_BEGIN_LIKE_DIGITS):
            syllables = 1 + (rng.random() < 0.4)
            word = "".join(str(rng.choice(part)) for part in _SYLLABLE * syllables)
        chosen.append(word)
    return f"{rng.choice([', ', '. ', '; '])}".join(chosen)


def draw_words(rng: np.random.Generator, words: Sequence[str]) -> str:
    """Draw 2 to 5 single words with pauses between: near words, numbers, and some of `words`."""
    chosen = []
    for _ in range(int(rng.integers(2, 6))):
        pool: Sequence[str] = (NEAR_WORDS, _MORE, words)[rng.choice(3, p=[0.45, 0.4, 0.15])]
        chosen.append(draw_number(rng) if rng.random() < 0.15 else str(rng.choice(pool)))
    return f"{rng.choice([', ', '. ', '; '])}".join(chosen)


def draw_sentence(rng: np.random.Generator, words: Sequence[str]) -> str:
    """Draw a sentence without digits: one with near words, or 6 to 14 of `words`, in clauses."""
    if rng.random() < 0.5:
        return str(rng.choice(_NEAR_SENTENCES)) + str(rng.choice([".", "!", "", "?"]))
    chosen = rng.choice(words, int(rng.integers(6, 15))).tolist()
    commas = rng.random(len(chosen)) < 0.15
    commas[-1] = False
    return " ".join(word + "," * bool(comma) for word, comma in zip(chosen, commas, strict=True))


def draw_mixed_sentence(rng: np.random.Generator, max_digits: int = 4) -> str:
    """Draw a sentence with digits among other words; one in four has a number instead."""
    if rng.random() < 0.25:
        return str(rng.choice(_NUMBER_SENTENCES)).replace("{}", draw_number(rng))
    sentence = str(rng.choice(_MIXED_SENTENCES))
    for _ in range(sentence.count("{}")):
        sentence = sentence.replace("{}", draw_string(rng, 1, max_digits), 1)
    return sentence
