"""Compressed formats of telephones, messengers and browsers: written by ffmpeg, read by PyAV."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from made_files import decoded, encoded, replaced, syllables

import spoken_digits
from spoken_digits import formats
from spoken_digits.formats import Decoder
from spoken_digits.reading import AudioError, open_audio, read_audio

av = pytest.importorskip("av", reason="needs PyAV: pip install 'spoken-digits[formats]'")
ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs ffmpeg: pip install imageio-ffmpeg")

RATE = 16_000
VOICE = Path(spoken_digits.__file__).parent / "assets" / "voices" / "6" / "caribbean-f3_0.flac"


def by_ffmpeg(folder: Path, samples: np.ndarray, rate: int, outputs: dict[str, str]) -> None:
    """Write samples to files by one run of ffmpeg: by their names, what it is told of each."""
    soundfile.write(folder / "source.wav", samples, rate, subtype="PCM_16")
    command = [ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", "source.wav"]
    for name, options in outputs.items():
        command += [*options.split(), name]
    subprocess.run(command, cwd=folder, check=True, timeout=60)


OUTPUTS = {  # at 16 kHz, except where a codec knows one rate
    "aac.m4a": "-c:a aac",
    "fast.m4a": "-c:a aac -movflags +faststart",
    "aac.3gp": "-c:a aac",
    "aac.aac": "-c:a aac",
    "alac.m4a": "-c:a alac",
    "alac.caf": "-c:a alac",
    "nb.amr": "-c:a libopencore_amrnb -ar 8000",
    "nb.3gp": "-c:a libopencore_amrnb -ar 8000",
    "opus.ogg": "-c:a libopus",
    "opus.webm": "-c:a libopus",
    "live.webm": "-c:a libopus -live 1",
    "vorbis.mka": "-c:a libvorbis",
    "flac.oga": "-c:a flac",
    "two.wma": "-c:a wmav2",
    "g722.wav": "-c:a g722",
    "g726.wav": "-c:a g726 -ar 8000",
    "mpeg.wav": "-c:a libmp3lame",
    "layer2.mp2": "-ar 44100",
    "tta.tta": "",
    "wavpack.wv": "",
}
# What libsndfile reads of them.
PLAIN = ("opus.ogg", "mpeg.wav", "layer2.mp2")
# Samples at 16 kHz, by which a codec is late where its container does not say so; 0 in others.
DELAY = {"aac.aac": 1024, "mpeg.wav": 576, "layer2.mp2": 175, "nb.amr": 79, "g722.wav": 22}
DELAY |= {"two.wma": 512, "nb.3gp": -20}
LOSSLESS = ("alac.m4a", "alac.caf", "flac.oga", "tta.tta", "wavpack.wv")
SAMPLES = np.concatenate([syllables(4, RATE), np.zeros(321, np.float32)])  # no round number


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("formats")
    by_ffmpeg(folder, SAMPLES, RATE, OUTPUTS)
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def at_16_khz(samples: np.ndarray, rate: float) -> np.ndarray:
    points = np.arange(0, len(samples), rate / RATE)
    return np.interp(points, np.arange(len(samples)), samples)


def envelope(samples: np.ndarray) -> np.ndarray:
    """Return the level in frames of 10 ms."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    return np.sqrt(np.square(frames).mean(axis=1))


def test_every_format_is_read_from_its_first_sample_to_its_last(files):
    for name, content in files.items():
        with open_audio(content) as recording:
            found = at_16_khz(recording.read(), recording.sample_rate)
        assert recording.warnings == [], name
        n = len(found) + len(SAMPLES)
        spectrum = np.fft.rfft(found, n) * np.conj(np.fft.rfft(SAMPLES, n))
        lag = int(np.fft.irfft(spectrum, n)[: n // 2].argmax())
        if DELAY.get(name, 0) < 0:
            lag = int(np.fft.irfft(spectrum, n).argmax()) - n
        assert lag == pytest.approx(DELAY.get(name, 0), abs=3), name
        # No digit may lose its ends: less than 2 ms is missing, but where the encoder left it out.
        assert len(found) - lag - len(SAMPLES) >= (-200 if name == "layer2.mp2" else -32), name
        kept = found[max(0, lag) :][: len(SAMPLES)]
        level, expected = envelope(kept), envelope(SAMPLES[max(0, -lag) :][: len(kept)])
        count = min(len(level), len(expected))
        assert np.corrcoef(level[:count], expected[:count])[0, 1] > 0.95, name


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_are_read_to_the_bit(files, name):
    found, rate = read_audio(files[name])
    assert rate == RATE
    np.testing.assert_array_equal(found, decoded(encoded(SAMPLES, "WAV", RATE)))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_the_last_block_of_alac_in_caf_is_read(tmp_path, rate):
    # FFmpeg takes away what the last block lacks once more: 35 ms at 44.1 kHz, up to 256 at 8 kHz.
    samples = syllables(1, rate)[: 5 * 4096 + 2573 if rate > 8_000 else 4096 + 2573]
    by_ffmpeg(tmp_path, samples, rate, {"a.caf": "-c:a alac"})
    found, _ = read_audio(tmp_path / "a.caf")
    np.testing.assert_array_equal(found, decoded(encoded(samples, "WAV", rate)))


# CAF as Apple's recorders write it, of the packets that ffmpeg made: its own writer knows neither.


def caf(
    packets: list[bytes], codec: bytes, rate: int, samples: int, count: int, delay: int
) -> bytes:
    """Return CAF (Apple, 2011) of packets of so many samples, with what encoders added declared."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack(">q", len(content)) + content

    def number(value: int) -> bytes:
        return bytes([value >> 7 | 128] * (value > 127)) + bytes([value & 127])

    padding = len(packets) * samples - delay - count
    table = struct.pack(">qqii", len(packets), count, delay, padding)
    return b"".join(
        [
            b"caff\0\1\0\0",
            chunk(b"desc", struct.pack(">d4s5I", rate, codec, 0, 0, samples, 1, 0)),
            chunk(b"kuki", es_descriptor(bytes([0x14, 0x08]))) if codec == b"aac " else b"",
            chunk(b"pakt", table + b"".join(number(len(each)) for each in packets)),
            chunk(b"data", bytes(4) + b"".join(packets)),
        ]
    )


def es_descriptor(settings: bytes) -> bytes:
    """Return the settings of an AAC decoder as ISO 14496-1, 7.2.6.5, has them."""

    def descriptor(tag: int, content: bytes) -> bytes:
        return bytes([tag, 0x80, 0x80, 0x80, len(content)]) + content

    decoder = descriptor(4, bytes([0x40, 0x15]) + bytes(11) + descriptor(5, settings))
    return descriptor(3, bytes(3) + decoder + descriptor(6, bytes([2])))


@pytest.mark.parametrize(("name", "delay"), [("aac.m4a", 1024), ("opus.ogg", 312)])
def test_caf_with_aac_or_opus_is_read_without_what_the_encoder_added(files, name, delay):
    with av.open(io.BytesIO(files[name])) as file:
        packets = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
    if name == "aac.m4a":
        found, _ = read_audio(caf(packets, b"aac ", RATE, 1024, len(SAMPLES), delay))
        np.testing.assert_array_equal(found, read_audio(files[name])[0])
    else:
        content = caf(packets, b"opus", 48_000, 960, 3 * len(SAMPLES), delay)
        expected, _ = read_audio(files["opus.webm"])
        found, rate = read_audio(content)
        assert rate == 48_000
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["aac.m4a", "aac.3gp"])
def test_what_an_aac_encoder_pads_is_cut_where_mp4_declares_it(files, name):
    assert len(read_audio(files[name])[0]) == len(SAMPLES)


def test_an_aac_file_that_declares_too_little_is_read_whole(files):
    content = files["aac.m4a"].replace(b"edts", b"free")  # an edit list may leave sound out
    at = content.index(b"mdhd") + 20  # ISO 14496-12, 8.4.2
    content = replaced(content, at, (len(SAMPLES) // 2).to_bytes(4, "big"))
    assert len(read_audio(content)[0]) >= len(SAMPLES)


def test_amr_that_saves_bits_in_pauses_is_read_whole(files):
    # Discontinuous transmission: frames of type 8 hold comfort noise, of type 15 nothing. FFmpeg's
    # own decoder refuses the former.
    magic, frame = b"#!AMR\n", 32  # bytes, of 12.2 kbit/s: 3GPP TS 26.101
    content = files["nb.amr"]
    speech = [content[at : at + frame] for at in range(len(magic), len(content), frame)]
    noise, nothing = bytes([8 << 3 | 4, 1, 2, 3, 4, 5]), bytes([15 << 3 | 4])
    pause = [noise, *[nothing] * 7] * 4
    found, _ = read_audio(magic + b"".join([*speech, *pause, *speech]))
    assert len(found) == 160 * (2 * len(speech) + len(pause))
    level = np.sqrt(np.square(found.reshape(-1, 160)).mean(axis=1))
    again = level[len(speech) + len(pause) :]
    assert np.corrcoef(level[: len(speech)], again)[0, 1] > 0.95


# A digit of a telephone, a messenger, a browser, an exchange

PHONES = {
    "phone.m4a": "-c:a aac",
    "phone.amr": "-c:a libopencore_amrnb",
    "messenger.ogg": "-c:a libopus",
    "browser.webm": "-c:a libopus",
    "exchange.ulaw": "-f mulaw",
}


@pytest.fixture(scope="module")
def phones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phones")
    samples, rate = soundfile.read(VOICE, dtype="float32")
    assert rate == 8_000
    by_ffmpeg(folder, samples, rate, PHONES)
    return folder


def test_a_digit_of_each_kind_of_phone_recording_is_recognized(phones):
    recognizer = spoken_digits.load()
    assert [recognizer(phones / name).digit for name in PHONES] == [6] * 5


@pytest.fixture
def without_av(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)


def test_without_pyav_the_message_names_the_format_and_the_line_that_installs_it(
    phones, without_av
):
    expected = {"phone.m4a": "MP4, M4A, 3GP or QuickTime", "phone.amr": "AMR"}
    expected |= {"browser.webm": "WebM or Matroska"}
    for name in PHONES:
        if name not in expected:
            with open_audio(phones / name) as recording:
                assert len(recording.read())
            continue
        with pytest.raises(AudioError) as caught:
            read_audio(phones / name)
        assert str(caught.value) == (
            f"{phones / name}: {expected[name]}, which is not read without PyAV; expected WAV, "
            'FLAC, OGG, MP3 or AIFF: pip install "spoken-digits[formats]", or convert it'
        )


def test_without_pyav_each_format_is_named_and_what_libsndfile_reads_is_read(files, without_av):
    for name, content in files.items():
        if name in PLAIN:
            assert len(read_audio(content)[0])
        else:
            with pytest.raises(AudioError, match=r"not read without PyAV.*spoken-digits\[formats"):
                read_audio(content)


@pytest.mark.parametrize("content", [b"RIFF\0\0\0\0WAVEfmt \1\0\0\0\1" + bytes(99), b"\1\2" * 99])
def test_without_pyav_what_is_no_audio_is_not_blamed_on_it(content, without_av):
    with pytest.raises(AudioError, match="cannot be read as audio"):
        read_audio(content)


# Sources


@pytest.mark.parametrize("name", ["aac.m4a", "opus.webm", "nb.amr"])
def test_every_source_gives_the_same_samples(files, name, tmp_path):
    path, fifo = tmp_path / "x", tmp_path / "fifo"
    path.write_bytes(files[name])
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(files[name],))
    writer.start()
    expected, rate = read_audio(path)
    with path.open("rb") as file:
        for source in (files[name], io.BytesIO(files[name]), file, fifo):
            found, found_rate = read_audio(source)
            assert found_rate == rate
            np.testing.assert_array_equal(found, expected)
        assert not file.closed
    writer.join()


def test_memory_does_not_grow_with_the_length(tmp_path):
    for minutes in (1, 4):
        samples = np.zeros(minutes * 60 * 8_000)
        by_ffmpeg(tmp_path, samples, 8_000, {f"{minutes}.mka": "-c:a flac"})
    peaks = []
    for minutes in (1, 4):
        tracemalloc.start()
        with open_audio(tmp_path / f"{minutes}.mka") as recording:
            assert sum(map(len, recording)) == minutes * 60 * 8_000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 5e6


def test_the_channel_with_the_speech_is_taken(tmp_path):
    samples = syllables(4, 8_000)
    stereo = np.stack([np.zeros_like(samples), samples], axis=1)
    by_ffmpeg(tmp_path, stereo, 8_000, {"a.m4a": "-c:a alac"})
    with open_audio(tmp_path / "a.m4a") as recording:
        np.testing.assert_array_equal(recording.read(), decoded(encoded(samples, "WAV")))
    assert (recording.channels, recording.channel_count) == ((2,), 2)


def test_of_several_tracks_the_first_is_taken_with_a_warning(tmp_path):
    by_ffmpeg(tmp_path, syllables(), 8_000, {"a.mka": "-map 0 -map 0 -c:a flac"})
    with open_audio(tmp_path / "a.mka") as recording:
        np.testing.assert_array_equal(recording.read(), decoded(encoded(syllables(), "WAV")))
    (warning,) = recording.warnings
    assert warning.endswith("a.mka: holds 2 tracks of sound; the first is taken")


def test_a_change_of_the_rate_is_refused(files, tmp_path):
    by_ffmpeg(tmp_path, syllables(), 8_000, {"a.aac": "-c:a aac"})
    content = files["aac.aac"] + (tmp_path / "a.aac").read_bytes()
    with pytest.raises(AudioError, match=r"changes from 16,000 Hz and 1 channels to 8,000 Hz"):
        read_audio(content)


def test_a_title_in_another_encoding_does_not_matter(tmp_path):
    by_ffmpeg(tmp_path, syllables(), 8_000, {"a.mka": "-c:a flac -metadata title=Sieben"})
    content = (tmp_path / "a.mka").read_bytes().replace(b"Sieben", b"f\xfcnf \xff")
    np.testing.assert_array_equal(read_audio(content)[0], decoded(encoded(syllables(), "WAV")))


def test_a_video_without_sound_is_refused_as_such(tmp_path):
    picture = "-f lavfi -i color=c=red:s=32x32:d=0.1 -map 1:v -c:v mpeg4"
    by_ffmpeg(tmp_path, syllables(), 8_000, {"a.mp4": picture})
    with pytest.raises(AudioError, match=r"QuickTime, which cannot be read \(it holds no sound\)"):
        read_audio(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "content",
    [
        b"ffconcat version 1.0\nfile sound.aac\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsound.aac\n#EXT-X-ENDLIST\n",
    ],
    ids=["ffconcat", "m3u8"],
)
def test_a_list_of_files_opens_none_of_them(files, content, tmp_path, monkeypatch):
    # PyAV does, even of a list that is given as bytes.
    (tmp_path / "sound.aac").write_bytes(files["aac.aac"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match="cannot be read as audio"):
        read_audio(content)


@pytest.mark.parametrize("name", ["aac.m4a", "nb.amr", "opus.webm", "two.wma"])
def test_a_file_with_a_header_is_read_by_it_whatever_its_name(files, name, tmp_path):
    (tmp_path / "x.gsm").write_bytes(files[name])
    np.testing.assert_array_equal(read_audio(tmp_path / "x.gsm")[0], read_audio(files[name])[0])


# Cut, and end to end

CUT = {
    "aac.m4a": r"truncated, .* bytes? are missing|truncated, its index \(moov\)",
    "fast.m4a": r"truncated, [\d,]+ of [\d,]+ bytes are missing; expected a whole file",
    "nb.3gp": "truncated, ",
    "alac.caf": "truncated, ",
    "opus.webm": r"truncated, [\d,]+ of [\d,]+ bytes are missing; expected a whole file",
    "live.webm": r"truncated, [\d,]+ of [\d,]+ bytes are missing; expected a whole file",
    "vorbis.mka": "truncated, ",
    "two.wma": "truncated, ",
    "flac.oga": "truncated, the last page",
    "g722.wav": "truncated, ",
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("keep", [0.5, 0.8, 0.97])
def test_a_cut_file_is_truncated(files, name, keep, monkeypatch):
    content = files[name][: round(keep * len(files[name]))]
    with pytest.raises(AudioError, match=CUT[name]):
        read_audio(content)
    monkeypatch.setitem(sys.modules, "av", None)  # seen without decoding
    with pytest.raises(AudioError, match=CUT[name]):
        read_audio(content)


def test_an_mp4_whose_recording_was_never_ended_lacks_its_index(files):
    content = files["aac.m4a"]
    with pytest.raises(AudioError, match=r"truncated, its index \(moov\), .* is missing"):
        read_audio(content[: content.index(b"moov") - 4])


@pytest.mark.parametrize(("name", "frame"), [("nb.amr", 160), ("aac.aac", 1024)])
def test_a_format_without_a_length_warns_when_its_last_frame_is_cut(files, name, frame):
    whole, _ = read_audio(files[name])
    with open_audio(files[name][:-5]) as recording:
        found = recording.read()
    (warning,) = recording.warnings
    assert "ends within a frame" in warning
    assert len(whole) - len(found) == frame
    np.testing.assert_array_equal(found, whole[: len(found)])


@pytest.mark.parametrize("name", ["aac.m4a", "nb.amr", "opus.webm", "live.webm", "two.wma"])
def test_files_end_to_end_are_all_read(files, name):
    one, _ = read_audio(files[name])
    found, _ = read_audio(files[name] * 2)
    np.testing.assert_array_equal(found, np.concatenate([one, one]))


def test_nothing_but_the_packages_lines_comes_on_standard_error(files, tmp_path):
    rng = np.random.default_rng(0)
    for name, content in files.items():
        damaged = bytearray(content)
        for at in rng.integers(len(content) // 4, len(content), 20):
            damaged[at] = rng.integers(256)
        (tmp_path / name).write_bytes(damaged)
    run = [sys.executable, "-m", "spoken_digits", "recognize", *sorted(tmp_path.iterdir())]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stderr.splitlines()
    assert all(line.startswith(("spoken-digits: ", "WARNING: ")) for line in lines), done.stderr
    assert "Traceback" not in done.stderr


# Two libraries for one file

BOTH = {
    **{"WAV/PCM_16": 0, "WAV/PCM_24": 0, "WAV/FLOAT": 0, "WAV/ULAW": 0, "WAV/GSM610": 2e-3},
    **{"WAV/MS_ADPCM": 5e-3, "WAV/IMA_ADPCM": 1e-3, "FLAC": 0, "AIFF": 0, "AU/ALAW": 0},
    **{"MP3": 1e-4, "OGG/VORBIS": 1e-4},
}


@pytest.mark.parametrize("kind", BOTH)
def test_libsndfile_and_ffmpeg_decode_the_same(kind):
    """Why libsndfile comes first: it gives the exact length, and the same samples."""
    content = encoded(syllables(5), kind)
    expected = decoded(content)
    with Decoder(io.BytesIO(content), "x", []) as decoder:
        found = decoder.read(1 << 30)[:, 0]
    both = min(len(found), len(expected))
    assert both > 0.95 * len(expected)
    np.testing.assert_allclose(found[:both], expected[:both], atol=BOTH[kind])


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "sample",
    [None, 1e300, np.uint64(0x7FF0000000000001).view(np.float64)],
    ids=["", "large", "NaN"],
)
def test_samples_of_64_bits_that_32_cannot_hold_are_refused(tmp_path, sample):
    # The last is a signalling NaN, of which numpy warns.
    samples = syllables(1).astype(np.float64)[None]
    if sample is not None:
        samples[0, 900] = sample
    path = tmp_path / "a.mka"
    with av.open(str(path), "w", format="matroska") as file:
        track = file.add_stream("pcm_f64le", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="dbl", layout="mono")
        frame.sample_rate = 8_000
        file.mux([*track.encode(frame), *track.encode(None)])
    if sample is None:
        np.testing.assert_allclose(read_audio(path)[0], samples[0], atol=1e-7)
    else:
        with pytest.raises(AudioError, match="NaN, infinite"):
            read_audio(path)


def test_integers_of_64_bits_are_refused():
    sound = (syllables(1) * 2.0**62).astype("<i8").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, 8_000, 64_000, 8, 64)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(sound)) + sound
    with pytest.raises(AudioError, match="expected"):
        read_audio(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)


@dataclass
class Frame:
    """What is used of `av.AudioFrame`; of eight planes, PyAV 18.1.0 has one too many."""

    kind: str
    planes: list[bytes]
    samples: int
    is_planar: bool = True

    @property
    def format(self) -> SimpleNamespace:
        packed = SimpleNamespace(name=self.kind)
        return SimpleNamespace(name=f"{self.kind}p", packed=packed, is_planar=self.is_planar)


@pytest.mark.parametrize("kind", ["<f4", "<f8", "<i2", "<i4", "|u1"])
def test_eight_channels_are_taken_of_nine_planes(kind):
    name = {"<f4": "flt", "<f8": "dbl", "<i2": "s16", "<i4": "s32", "|u1": "u8"}[kind]
    samples = np.random.default_rng(0).integers(0, 100, (1_024, 8)).astype(kind)
    padded = np.pad(samples, ((0, 32), (0, 0)))  # planes are longer than what they hold
    planes = [padded[:, channel].tobytes() for channel in range(8)] + [b"not of this frame"]
    np.testing.assert_array_equal(formats._samples(Frame(name, planes, 1_024), 8), samples)
    packed = Frame(name, [padded.tobytes(), b"not of this frame"], 1_024, is_planar=False)
    np.testing.assert_array_equal(formats._samples(packed, 8), samples)


def test_more_than_eight_channels_are_refused(tmp_path):
    samples = np.repeat(syllables(1)[None], 10, 0).T.reshape(1, -1)
    with av.open(str(tmp_path / "ten.mka"), "w", format="matroska") as file:
        track = file.add_stream("pcm_f32le", rate=8_000, layout="10c")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "flt", "10c")
        frame.sample_rate = 8_000
        file.mux([*track.encode(frame), *track.encode(None)])
    with pytest.raises(AudioError, match="10 channels; expected 1 to 8: keep the one"):
        read_audio(tmp_path / "ten.mka")


# Channels


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
def test_channels_of_ogg_are_numbered_as_ffmpeg_does(codec, count):
    # libsndfile numbers them as Vorbis does, the middle second: `channel=2` was another one than
    # of the same sound in WAV, or on the page.
    rng = np.random.default_rng(0)
    levels = np.linspace(0.3, 0.05, count)  # that tell them apart
    content = encoded(levels * rng.standard_normal((24_000, 1)) / 4, f"OGG/{codec}", 48_000)
    with av.open(io.BytesIO(content)) as file:
        expected = np.concatenate([each.to_ndarray() for each in file.decode(audio=0)], 1)
    expected_rms = np.sqrt(np.square(expected[:, 4_800:19_200]).mean(axis=1))
    found_rms = []
    for channel in range(1, count + 1):
        found, _ = read_audio(content, channel=channel)
        found_rms.append(np.sqrt(np.square(found[4_800:19_200]).mean()))
    np.testing.assert_allclose(found_rms, expected_rms, rtol=0.05)
    is_as_in_the_file = np.argsort(found_rms)[::-1].tolist() == list(range(count))
    assert is_as_in_the_file == (count == 4)


def test_channels_of_opus_that_are_no_places_are_numbered_as_they_lie(tmp_path):
    rng = np.random.default_rng(0)
    samples = np.linspace(0.3, 0.05, 6) * rng.standard_normal((24_000, 1)) / 4
    by_ffmpeg(tmp_path, samples, 48_000, {"x.ogg": "-c:a libopus -mapping_family 255 -b:a 600k"})
    levels = []
    for channel in range(1, 7):
        found, _ = read_audio(tmp_path / "x.ogg", channel=channel)
        levels.append(np.sqrt(np.square(found[4_800:19_200]).mean()))
    np.testing.assert_allclose(levels, np.linspace(0.3, 0.05, 6) / 4, rtol=0.1)
