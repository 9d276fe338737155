"""Some of the files that ``python -m tests.fuzz`` makes, and whether it notices what is wrong."""

import importlib.util
import io
import shutil
import sys

import numpy as np
import pytest
import soundfile
from made_files import encoded, syllables
from tests.fuzz.__main__ import fuzz
from tests.fuzz.files import kinds, valid_files
from tests.fuzz.mutations import MUTATIONS, mutate, seal

COUNT = 500
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix")


def test_mutated_files_are_answered_or_refused():
    report = fuzz(range(COUNT), seed=20_261_128)
    assert report.findings == []
    for what in ("recognize", "transcribe"):
        counts = [report.outcomes[f"{what}: {end}"] for end in ("answered", "refused")]
        assert sum(counts) == COUNT
        assert min(counts) > COUNT // 10  # neither all broken nor all whole
    if shutil.which("node"):
        assert report.outcomes["page: read"] + report.outcomes["page: refused"] == COUNT
    if importlib.util.find_spec("torch"):
        for what in ("table, corpus: refused", "table, evaluate: answered", "recipe: refused"):
            assert report.outcomes[what] > 0


def test_the_page_answers_or_refuses_in_chromium():
    pytest.importorskip("playwright")
    if not any(map(shutil.which, ("chromium", "google-chrome"))):
        pytest.skip("needs Chromium: apt-get install chromium")
    report = fuzz(range(40), seed=1, kinds="[FOM]*", browser=True)  # FLAC, Ogg, MP3, MP4
    assert report.findings == []
    assert report.outcomes["browser: read"] > 0
    assert report.outcomes["browser: read"] + report.outcomes["browser: refused"] == 40


# What would be found: the recognizer is broken, in the child


def fuzz_broken(monkeypatch, folder, code: str) -> list[str]:
    """Fuzz two files with a recognizer that runs some code first; return what is found."""
    (folder / "sitecustomize.py").write_text(f"""
import sys
if "tests.fuzz.child" in sys.orig_argv:
    from spoken_digits import Recognizer
    answer = Recognizer._cut
    def call(self, *args, **named):
        exec({code!r})
        return answer(self, *args, **named)
    Recognizer._cut = call
""")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return [said for _, said in fuzz(range(2), kinds="WAV/PCM_16").findings]


@pytest.mark.parametrize(
    ("code", "said"),
    [("import ctypes; ctypes.string_at(0)", "SIGSEGV"), ("while True: pass", "too long")],
    ids=["crash", "hang"],
)
def test_what_ends_the_process_is_found_and_the_next_file_taken(monkeypatch, tmp_path, code, said):
    found = fuzz_broken(monkeypatch, tmp_path, code)
    assert [f"file: the process ended: {said}" in each for each in found] == [True, True]


def test_whatever_else_goes_wrong_is_found(monkeypatch, tmp_path):
    code = """
import os
os.write(2, b"warning: x")
os.write(1, b"Error A")
open(os.path.join(os.environ["TMPDIR"], "left"), "w").close()
os.open(".", 0)
bytearray(2 << 30)
"""
    found = "\n".join(fuzz_broken(monkeypatch, tmp_path, code))
    for said in (
        "recognize: MemoryError",
        "recognize: on standard error: warning: xError A",
        "batch: files left: ['left']",
        "files left open",
        "recognize FILE...: status 1",
    ):
        assert said in found


# Mutations


def test_the_same_draws_give_the_same_file():
    content = encoded(syllables(1), "WAV")
    for index in range(200):
        first, second = (mutate(content, np.random.default_rng(index), (content,)) for _ in "ab")
        assert first == second
        assert first[1].isprintable()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutation_changes_any_file(mutation):
    for content in (encoded(syllables(1), "MP3"), encoded(syllables(1), "NIST"), b"RI", b""):
        found = {mutation(content, np.random.default_rng(k), (b"other",))[0] for k in range(20)}
        assert content == b"" or len(found) > 1


@pytest.mark.parametrize("kind", ["OGG/VORBIS", "OGG/OPUS"])
def test_checksums_of_ogg_are_those_of_libogg(kind):
    content = encoded(syllables(2), kind)
    broken = bytearray(content)
    for at in range(len(content) - 26):
        if content[at : at + 4] == b"OggS":
            broken[at + 22] ^= 1
    assert seal(bytes(broken)) == content != broken


def test_files_of_every_format_of_the_documentation_are_made():
    names = kinds()
    for container in ("WAV", "RF64", "W64", "AIFF", "AU", "VOC", "NIST", "CAF", "FLAC", "OGG"):
        assert any(name.startswith(f"{container}/") for name in names)
    assert {"MP3 of variable rate", ".ulaw without a header", "WAV/PCM_16 big-endian"} <= set(names)
    for kind in kinds("WAV/*").values():
        for content in valid_files(kind):
            assert len(soundfile.read(io.BytesIO(content))[0]) >= 3_600
