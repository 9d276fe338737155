import dataclasses
import hashlib
import io
import os
import re
import socket
import subprocess
import sys
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

SPEAKERS = ("01", "60")
FSDD_NAMES = [f"{digit}_{speaker}_0.wav" for digit in "012" for speaker in ("theo", "lucas")]


def wav_bytes(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, 800)
    sf.write(stream, noise, 8_000, "PCM_16", format="WAV")
    return stream.getvalue()


def tar_of(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def archive(names: list[str] = FSDD_NAMES, extra: dict[str, bytes] | None = None) -> bytes:
    members = {f"fsdd-1.0.10/recordings/{name}": wav_bytes(i) for i, name in enumerate(names)}
    return tar_of(members | {"fsdd-1.0.10/fsdd.py": b"1/0"} | (extra or {}))


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


# AudioMNIST and Speech Commands


def below(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


AUDIOMNIST = tar_of(
    {
        **{
            f"AudioMNIST-x/data/{s}/{d}_{s}_0.wav": wav_bytes(int(s + d))
            for s in SPEAKERS
            for d in "09"
        },
        "AudioMNIST-x/data/audioMNIST_meta.txt": b"{}",
        "AudioMNIST-x/data/36/notes.txt": b"-",
        "AudioMNIST-x/LICENSE": b"MIT",
        "AudioMNIST-x/preprocess_data.py": b"1/0",
    }
)
COMMANDS = {
    **{f"./{word}/0a_nohash_{k}.wav": wav_bytes(k) for k, word in enumerate(("yes", "zero"))},
    "./_background_noise_/pink_noise.wav": wav_bytes(9),
    "./validation_list.txt": b"yes/0a_nohash_0.wav\n",
    "./testing_list.txt": b"",
    "./LICENSE": b"CC",
    "./README.md": b"-",
    "./.DS_Store": b"-",
}


def test_the_30000_names_of_audiomnist_are_wanted_and_no_other():
    names = [
        f"AudioMNIST-master/data/{folder}/{digit}_{speaker:02}_{take:{width}}.wav"
        for speaker, digit, take, width in product(range(63), range(11), range(52), ("", "02"))
        for folder in (f"{speaker:02}", "41")
    ]
    wanted = {name for name in names if CORPORA["audiomnist"].wanted.search(name)}
    assert len(wanted) == CORPORA["audiomnist"].clips == 30_000


def known(monkeypatch, name: str, **changes) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(CORPORA, name, dataclasses.replace(CORPORA[name], **changes))


def test_audiomnist_comes_in_its_layout_and_its_sha256_is_told(tmp_path, monkeypatch, capsys):
    known(monkeypatch, "audiomnist", clips=4)
    with serve(AUDIOMNIST) as server:
        folder = fetch_corpus("audiomnist", tmp_path, mirror=server.url)
    assert below(folder) == [
        *("LICENSE", "data/01/0_01_0.wav", "data/01/9_01_0.wav"),
        *("data/60/0_60_0.wav", "data/60/9_60_0.wav", "data/audioMNIST_meta.txt"),
    ]
    assert hashlib.sha256(AUDIOMNIST).hexdigest() in capsys.readouterr().err


def test_speech_commands_comes_with_its_lists_and_noises(tmp_path, monkeypatch, capsys):
    content = tar_of(COMMANDS)
    known(
        monkeypatch, "speech_commands", clips=2, archive_sha256=hashlib.sha256(content).hexdigest()
    )
    with serve(content) as server:
        folder = fetch_corpus("speech_commands", tmp_path, mirror=server.url, progress=False)
    assert below(folder) == sorted(name[2:] for name in COMMANDS if "DS_Store" not in name)
    assert capsys.readouterr().err == ""


def test_speech_commands_without_a_list_is_not_the_published_one(tmp_path, monkeypatch):
    content = tar_of({name: c for name, c in COMMANDS.items() if "testing" not in name})
    known(monkeypatch, "speech_commands", clips=2, archive_sha256=None)
    with serve(content) as server, pytest.raises(CorpusError, match=r"\(no testing_list\.txt\)"):
        fetch_corpus("speech_commands", tmp_path, mirror=server.url)
    assert below(tmp_path) == []


def test_the_archive_of_speech_commands_is_the_one_that_its_publisher_names(tmp_path, monkeypatch):
    known(monkeypatch, "speech_commands", clips=2)
    with (
        serve(tar_of(COMMANDS)) as server,
        pytest.raises(CorpusError, match=r"its SHA-256 is .*, expected af14739e.* --mirror"),
    ):
        fetch_corpus("speech_commands", tmp_path, mirror=server.url)
    assert below(tmp_path) == []


def test_a_sha256_that_is_given_is_compared(tmp_path, monkeypatch):
    known(monkeypatch, "audiomnist", clips=4)
    with serve(AUDIOMNIST) as server:
        with pytest.raises(CorpusError, match=f"expected {'0' * 64}"):
            fetch_corpus("audiomnist", tmp_path, mirror=server.url, sha256="0" * 64)
        digest = hashlib.sha256(AUDIOMNIST).hexdigest().upper()
        assert fetch_corpus("audiomnist", tmp_path, mirror=server.url, sha256=digest).is_dir()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mirror": "file:///etc/hostname"}, "mirror 'file:///etc/hostname': expected an address"),
        ({"mirror": "mirror.example/a.tar.gz"}, "begins with http:// or https://"),
        ({"sha256": "af14"}, "SHA-256 'af14': expected 64 hexadecimal digits"),
    ],
)
def test_a_mirror_or_a_sha256_that_is_none_is_refused(tmp_path, given, said):
    with pytest.raises(CorpusError, match=said):
        fetch_corpus("audiomnist", tmp_path, **given)
    assert list(tmp_path.iterdir()) == []


def fetch_by_proxy(proxy: str, url: str, data: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the proxies are those of the environment when it starts."""
    kept = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    where = proxy.rpartition("/")[0]
    verb = ("corpus", "fetch", "audiomnist", "--mirror", url, "--data", str(data))
    return subprocess.run(
        [sys.executable, "-m", "spoken_digits", *verb],
        env=kept | {"http_proxy": where, "https_proxy": where},
        capture_output=True,
        text=True,
    )


def test_a_proxy_is_asked_and_a_cut_download_goes_on_through_it(tmp_path):
    url = "http://corpora.invalid/audiomnist.tar.gz"
    with serve(AUDIOMNIST, stop_after=1_000) as proxy:
        cut = fetch_by_proxy(proxy.url, url, tmp_path)
        assert cut.returncode == 1
        assert "broke off after 1,000" in cut.stderr
        assert (tmp_path / "audiomnist.part").stat().st_size == 1_000
        proxy.stop_after = None
        whole = fetch_by_proxy(proxy.url, url, tmp_path)
    assert "4 recordings, expected 30,000" in whole.stderr
    assert proxy.paths == [url, url]
    assert proxy.asked == [None, "bytes=1000-"]


def test_a_proxy_that_refuses_https_is_told(tmp_path):
    with serve(b"") as proxy:
        refused = fetch_by_proxy(proxy.url, "https://corpora.invalid/a.tar.gz", tmp_path)
    assert refused.returncode == 1
    assert re.search("could not be fetched .*403", refused.stderr)
    assert "Traceback" not in refused.stderr
    assert proxy.paths == ["corpora.invalid:443"]
    assert list(tmp_path.iterdir()) == []


def test_only_published_corpora_can_be_fetched():
    with pytest.raises(CorpusError, match="expected one of fsdd, speech_commands, audiomnist"):
        fetch_corpus("voices")


def test_giving_up_takes_less_than_ten_seconds():
    assert PATIENCE_S < 10
