import dataclasses
import hashlib
import io
import socket
import tarfile
import threading
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from loopback import closed_port, serve

from spoken_digits.lab.data.corpora import (
    CORPORA,
    FSDD_MANIFEST,
    CorpusError,
    _read_manifest,
    fetch_corpus,
    find_corpus,
)
from spoken_digits.lab.data.download import PATIENCE_S

FSDD_NAMES = [f"{digit}_{speaker}_0.wav" for digit in "012" for speaker in ("theo", "lucas")]


def wav_bytes(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, 800)
    sf.write(stream, noise, 8_000, "PCM_16", format="WAV")
    return stream.getvalue()


def archive(names: list[str] = FSDD_NAMES, extra: dict[str, bytes] | None = None) -> bytes:
    members = {f"fsdd-1.0.10/recordings/{name}": wav_bytes(i) for i, name in enumerate(names)}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in (members | {"fsdd-1.0.10/fsdd.py": b"1/0"} | (extra or {})).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Fetch a made-up FSDD of six recordings from an address, with short patience."""
    monkeypatch.setenv("no_proxy", "*")

    def fetch_from(url: str, **other) -> Path:
        known = {"url": url, "clips": len(FSDD_NAMES), "hash": None} | other
        monkeypatch.setitem(CORPORA, "fsdd", dataclasses.replace(CORPORA["fsdd"], **known))
        return fetch_corpus("fsdd", tmp_path / "data", patience_s=0.5)

    return fetch_from


def left_behind(tmp_path: Path) -> list[str]:
    return sorted(file.name for file in (tmp_path / "data").glob("*"))


def test_the_3000_names_of_fsdd_are_wanted_and_no_other():
    names = [
        f"x/recordings/{digit}_{speaker}_{take:{width}}.wav"
        for digit, take, width in product(range(11), range(60), ("", "02"))
        for speaker in ("george", "jackson", "lucas", "nicolas", "theo", "yweweler", "anna")
    ]
    wanted = {name for name in names if CORPORA["fsdd"].wanted.search(name)}
    assert len(wanted) == CORPORA["fsdd"].clips == 3_000


def test_a_whole_download_becomes_a_corpus_and_leaves_nothing_else(fetch, tmp_path):
    with serve(archive()) as server:
        folder = fetch(server.url)
    assert folder == tmp_path / "data" / "fsdd"
    assert sorted(f.name for f in folder.rglob("*.*")) == sorted(FSDD_NAMES)
    assert (folder / "recordings" / FSDD_NAMES[2]).read_bytes() == wav_bytes(2)
    assert left_behind(tmp_path) == ["fsdd"]


def published(tmp_path: Path) -> dict:
    """Hash and manifest of the made-up FSDD, by their definitions."""
    rows, lines = [], []
    for i, name in enumerate(FSDD_NAMES):
        digest = hashlib.sha256(wav_bytes(i)).hexdigest()
        digit, speaker, _ = name.split("_")
        rows.append("\t".join((name, digit, speaker, digest)))
        lines.append(f"{digit}_{speaker} {digest[:4]}")
    manifest = tmp_path / "manifest"
    manifest.write_text("\n".join(["# a comment", *lines]))
    digest = hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()
    return {"hash": digest, "manifest": manifest}


def test_a_download_with_the_published_hash_is_accepted(fetch, tmp_path):
    with serve(archive()) as server:
        assert fetch(server.url, **published(tmp_path)).is_dir()


def test_recordings_that_differ_are_refused_counted_and_named(fetch, tmp_path):
    changed = {f"x/recordings/{name}": wav_bytes(99) for name in FSDD_NAMES[2:4]}
    with (
        serve(archive(extra=changed)) as server,
        pytest.raises(CorpusError, match=r"2 recordings, the first 1_lucas_0\.wav, differ"),
    ):
        fetch(server.url, **published(tmp_path))
    assert left_behind(tmp_path) == []


def test_a_difference_that_the_abbreviated_manifest_does_not_show_is_refused(fetch, tmp_path):
    other = published(tmp_path) | {"hash": "0" * 64}
    with serve(archive()) as server, pytest.raises(CorpusError, match="some recordings differ"):
        fetch(server.url, **other)
    assert left_behind(tmp_path) == []


def test_a_corpus_that_is_there_but_differs_is_named_and_left_alone(fetch, tmp_path):
    recordings = tmp_path / "data" / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for name in FSDD_NAMES:
        (recordings / name).write_bytes(wav_bytes())
    message = r"5 recordings, the first 0_lucas_0\.wav, differ .*; move the folder away"
    with pytest.raises(CorpusError, match=message):
        fetch("http://127.0.0.1:1/", **published(tmp_path))
    assert len(list(recordings.iterdir())) == len(FSDD_NAMES)


def test_the_published_fsdd_has_the_hash_and_the_manifest(data_root):
    folder = find_corpus("fsdd", data_root)
    assert fetch_corpus("fsdd", folder.parent) == folder
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.glob("recordings/*.wav")
    }
    manifest = _read_manifest(FSDD_MANIFEST)
    assert manifest == {name: digest[:4] for name, digest in digests.items()}


def test_the_hash_of_fsdd_is_that_of_the_published_results():
    results = Path(__file__).parents[3] / "results"
    for study in ("models", "noise", "leave-one-out"):
        text = (results / f"{study}.json").read_text(encoding="utf-8")
        assert f'"{CORPORA["fsdd"].hash}"' in text


def test_a_corpus_that_is_there_is_not_fetched_again(fetch, tmp_path):
    recordings = tmp_path / "data" / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for name in FSDD_NAMES:
        (recordings / name).write_bytes(wav_bytes())
    assert fetch("http://127.0.0.1:1/") == tmp_path / "data" / "fsdd"


def test_a_corpus_that_is_there_but_incomplete_is_never_overwritten(fetch, tmp_path):
    recordings = tmp_path / "data" / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    (recordings / FSDD_NAMES[0]).write_bytes(wav_bytes())
    with pytest.raises(CorpusError, match="1 recordings, expected 6; move the folder away"):
        fetch("http://127.0.0.1:1/")
    assert [file.name for file in recordings.iterdir()] == FSDD_NAMES[:1]


@pytest.mark.parametrize("sends_length", [True, False])
def test_an_interrupted_download_goes_on_where_it_stopped(fetch, tmp_path, sends_length):
    content = archive()
    with serve(content, stop_after=1_000, sends_length=sends_length) as server:
        with pytest.raises(CorpusError, match=r"broke off.* try again to continue"):
            fetch(server.url)
        assert left_behind(tmp_path) == ["fsdd.part"]
        assert (tmp_path / "data" / "fsdd.part").read_bytes() == content[:1_000]
        server.stop_after = None
        fetch(server.url)
    assert server.asked == [None, "bytes=1000-"]
    assert left_behind(tmp_path) == ["fsdd"]


def test_a_server_without_ranges_is_read_from_the_start(fetch, tmp_path):
    with serve(archive(), stop_after=1_000, knows_ranges=False) as server:
        with pytest.raises(CorpusError):
            fetch(server.url)
        server.stop_after = None
        fetch(server.url)
    assert left_behind(tmp_path) == ["fsdd"]


def test_a_download_that_was_whole_is_only_unpacked(fetch, tmp_path):
    content = archive()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fsdd.part").write_bytes(content)
    with serve(content) as server:
        fetch(server.url)
    assert server.asked == [f"bytes={len(content)}-"]
    assert left_behind(tmp_path) == ["fsdd"]


def test_what_a_killed_attempt_left_goes_with_the_next_one(fetch, tmp_path):
    content, data = archive(), tmp_path / "data"
    (data / ".fsdd.99999999" / "fsdd" / "recordings").mkdir(parents=True)  # killed unpacking
    (data / "fsdd.part").write_bytes(content)
    with serve(content) as server:
        folder = fetch(server.url)
        assert [path.name for path in data.iterdir()] == ["fsdd"]
        (data / "fsdd.part").write_bytes(content)  # killed between the last two steps
        assert fetch(server.url) == folder
    assert [path.name for path in data.iterdir()] == ["fsdd"]


def test_a_part_longer_than_the_archive_is_thrown_away(fetch, tmp_path):
    content = archive()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fsdd.part").write_bytes(content + b"more")
    with serve(content) as server:
        fetch(server.url)
    assert left_behind(tmp_path) == ["fsdd"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>Please log in</html>", "no whole tar archive"),
        (archive()[:-400], "no whole tar archive|recordings, expected 6"),
        (archive(FSDD_NAMES[:-1]), "5 recordings, expected 6"),
        (archive(FSDD_NAMES[:-1], {"x/recordings/2_lucas_0.wav": wav_bytes()[:-90]}), "truncated"),
        (archive(extra={"../../escaped.txt": b"!"}), "points outside"),
        (archive(extra={"/tmp/escaped.txt": b"!"}), "points outside"),
    ],
    # Of the content the name would be: gzip holds the time, and each process would have its own.
    ids=["page", "cut short", "one lacks", "a clip cut short", "above", "at the root"],
)
def test_wrong_content_is_refused_and_removed(fetch, tmp_path, content, message):
    with serve(content) as server, pytest.raises(CorpusError, match=message):
        fetch(server.url)
    assert left_behind(tmp_path) == []
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_link_in_the_archive_is_not_followed(fetch, tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        link = tarfile.TarInfo("x/recordings/0_theo_0.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with serve(stream.getvalue()) as server, pytest.raises(CorpusError, match="0 recordings"):
        fetch(server.url)
    assert left_behind(tmp_path) == []


def test_a_refused_connection_names_address_and_remedy(fetch, tmp_path):
    with pytest.raises(CorpusError, match=r"could not be fetched .* by other means.* --data"):
        fetch(f"http://127.0.0.1:{closed_port()}/fsdd.tar.gz")
    assert left_behind(tmp_path) == []


def test_a_missing_page_leaves_nothing(fetch, tmp_path):
    with serve(b"", status=404) as server, pytest.raises(CorpusError, match="404"):
        fetch(server.url)
    assert left_behind(tmp_path) == []


def test_a_stalled_server_is_given_up(fetch, tmp_path):
    with serve(archive(), stop_after=1_000, stall=True) as server:
        started = time.monotonic()
        with pytest.raises(CorpusError, match="timed out"):
            fetch(server.url)
        assert time.monotonic() - started < 3
    assert (tmp_path / "data" / "fsdd.part").stat().st_size == 1_000


def test_a_server_that_accepts_and_says_nothing_is_given_up(fetch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        started = time.monotonic()
        with pytest.raises(CorpusError, match=r"timed out|no answer within 0\.5 s"):
            fetch(f"http://127.0.0.1:{mute.getsockname()[1]}/")
    assert time.monotonic() - started < 3
    assert left_behind(tmp_path) == []


def test_a_name_server_that_does_not_answer_is_given_up(fetch, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(10) and [])
    started = time.monotonic()
    with pytest.raises(CorpusError, match=r"no answer within 0\.5 s"):
        fetch("http://corpus.invalid/")
    assert time.monotonic() - started < 3
    released.set()


def test_only_published_corpora_can_be_fetched():
    with pytest.raises(CorpusError, match="expected one of fsdd, speech_commands, audiomnist"):
        fetch_corpus("voices")


def test_giving_up_takes_less_than_ten_seconds():
    assert PATIENCE_S < 10
