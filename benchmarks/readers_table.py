"""Guesses and tables of `python -m benchmarks.readers`: what an expert would say, what there is.

Guesses were written before anything was measured, that on Speech Commands before its own run.
`results` are those of `benchmarks.readers`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Any]
Reading = dict[str, Any]

SNDFILE, PYAV, SOX = "libsndfile", "PyAV", "SoX"
NARROW, WIDE = "Chromium, 8 kHz", "Chromium, 48 kHz"
PYTHON, PAGE = "spoken-digits", "its page"
READERS = (SNDFILE, PYAV, NARROW, WIDE, SOX, PYTHON, PAGE)
FOUR = (SNDFILE, PYAV, WIDE, SOX)

# What an expert expects a browser to open: the codecs that web pages play, in their containers.
OF_THE_WEB = {
    (".m4a", "AAC"), (".m4a", "AAC, 32 kbit/s"), (".mp4", "AAC, in fragments"), (".mp4", "Opus"),
    (".mp4", "FLAC"), (".3gp", "AAC"), (".aac", "AAC (ADTS)"), (".webm", "Opus"),
    (".webm", "Opus, live"), (".webm", "Vorbis"), (".mka", "AAC"), (".mka", "Opus"),
    (".mka", "FLAC"),
    (".ogg", "Opus"), (".ogg", "Opus, 16 kbit/s"), (".ogg", "Opus, 8 kbit/s"), (".opus", "Opus"),
    (".ogg", "Vorbis"), (".oga", "FLAC"), (".flac", "FLAC"), (".flac", "FLAC, to a pipe"),
    (".mp3", "MP3"), (".mp3", "MP3, to a pipe"), (".mp3", "MP3, variable, to a pipe"),
    (".mp3", "MP3, variable"), (".wav", "16 bit"), (".wav", "16 bit, to a pipe"),
    (".wav", "24 bit"), (".wav", "float"), (".wav", "8 bit"), (".wav", "µ-law"), (".wav", "A-law"),
}  # fmt: skip
LOSSLESS = {"16 bit", "16 bit, to a pipe", "24 bit", "float", "FLAC", "FLAC, to a pipe", "ALAC"}
LOSSLESS |= {"WavPack", "True Audio"}


@dataclass(frozen=True)
class Guess:
    """A question, what an expert would answer, whether that is right, and what was measured."""

    question: str
    guess: str
    is_right: Callable[[Results], bool]
    measured: Callable[[Results], str]


def kinds(results: Results, reader: str) -> Iterator[tuple[dict[str, Any], Reading]]:
    """Give each row and what a reader made of it, where it opened the file."""
    for row in results["rows"]:
        reading = row["readers"][reader]
        if "refused" not in reading:
            yield row, reading


def of(
    results: Results, reader: str, ending: str, codec: str, tool: str = ""
) -> list[tuple[dict[str, Any], Reading]]:
    return [
        (row, reading)
        for row, reading in kinds(results, reader)
        if row["ending"] in ending.split() and row["codec"] == codec and tool in row["tool"]
    ]


def spread(values: list[float], digits: int = 1) -> str:
    if not values:
        return "none opened"
    low, high = (f"{value:+.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def edges(results: Results, ending: str, codec: str, key: str, tool: str = "") -> dict[str, str]:
    """Return what a reader adds before or behind files of a kind, in ms, by reader."""
    return {
        reader: spread([one[key] for _, one in of(results, reader, ending, codec, tool)])
        for reader in FOUR
    }


def listed(values: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in values.items()) or "none"


def are_within(
    results: Results, ending: str, codec: str, key: str, limit_ms: float, tool: str = ""
) -> bool:
    found = [one[key] for reader in FOUR for _, one in of(results, reader, ending, codec, tool)]
    return max(map(abs, found)) <= limit_ms


def opened_by_chromium(results: Results) -> set[tuple[str, str]]:
    return {(row["ending"], row["codec"]) for row, _ in kinds(results, WIDE)}


def contexts(results: Results, key: str) -> list[float]:
    """Return how far apart a value lies between the two contexts, in every file that both open."""
    pairs = [(row["readers"][NARROW], row["readers"][WIDE]) for row in results["rows"]]
    return [a[key] - b[key] for a, b in pairs if "refused" not in a and "refused" not in b]


def levels(results: Results) -> dict[str, list[float]]:
    """Return the levels of lossless files, dB, by reader."""
    return {
        reader: [one["level_db"] for row, one in kinds(results, reader) if row["codec"] in LOSSLESS]
        for reader in (SNDFILE, PYAV, NARROW, WIDE, SOX)
    }


def other_digits(results: Results, reader: str) -> list[str]:
    """Name the files of which this reader's samples are recognized as another string."""
    return [
        f"{row['codec']} in {row['ending']} by {row['tool']}, {row['rate'] / 1e3:g} kHz"
        for row, one in kinds(results, reader)
        if one["digits"] != results["spoken"]
    ]


def differ(results: Results, a: str, b: str) -> list[str]:
    """Name the files of which what two readers give is recognized differently."""
    found = []
    for row in results["rows"]:
        one, other = row["readers"][a], row["readers"][b]
        if "refused" not in one and "refused" not in other and one["digits"] != other["digits"]:
            found.append(
                f"{row['codec']} in {row['ending']} by {row['tool']}, {row['rate'] / 1e3:g} kHz: "
                f"{one['digits']}, {other['digits']}"
            )
    return found


def aliases(tones: Mapping[str, Any]) -> list[float]:
    """Return what is left of tones above 4.4 kHz, dB of them."""
    return [tone["rest_db"] for hz, tone in tones.items() if float(hz) > 4_400]


def passed(tones: Mapping[str, Any], hz: str) -> float:
    return float(tones[hz]["level_db"])


def orders(results: Results, reader: str) -> dict[str, list[str]]:
    found = {codec: each["orders"] for codec, each in results["surround"].items()}
    return {codec: order[reader] for codec, order in found.items() if reader in order}


WAV_ORDER = ["FL", "FR", "FC", "LFE", "BL", "BR"]


def other_channels(results: Results) -> dict[str, str]:
    """Return, by codec, the channels that have another number in Python than on the page."""
    found = {}
    for codec, each in results["surround"].items():
        ours, page = (each["orders"].get(reader, []) for reader in (PYTHON, PAGE))
        if ours and page and ours != page:
            found[codec] = f"{' '.join(ours)}, page {' '.join(page)}"
    return found


def before(results: Results, key: str) -> str:
    """Say what was measured before it was mended."""
    found = results["before"][key]
    said = listed(found) if isinstance(found, dict) else "; ".join(found)
    return f"before it was mended: {said}. Now: "


def microphone(results: Results, constraints: str, context: str) -> Reading:
    return dict(results["microphone"][f"{constraints}, {context}"])


GUESSES = (
    Guess(
        "Which files of docs/formats.md does Chromium's decodeAudioData open?",
        "what the web plays: WAV of PCM, float and G.711; FLAC, MP3, Vorbis, Opus and AAC in the "
        "containers of the web (MP4, 3GP, ADTS, Ogg, WebM, Matroska); not ALAC, AMR, ADPCM, "
        "MPEG transport streams or anything else",
        lambda r: opened_by_chromium(r) == OF_THE_WEB,
        lambda r: (
            "beside these: "
            + (
                ", ".join(" ".join(each) for each in sorted(opened_by_chromium(r) - OF_THE_WEB))
                or "none"
            )
            + "; of these not: "
            + (
                ", ".join(" ".join(each) for each in sorted(OF_THE_WEB - opened_by_chromium(r)))
                or "none"
            )
        ),
    ),
    Guess(
        "Does an 8 kHz context open the same files as a 48 kHz one, with the sound at the same "
        "time?",
        "yes, to half a sample of 8 kHz, 0.06 ms",
        lambda r: max(map(abs, contexts(r, "start_ms"))) <= 0.0625,
        lambda r: f"starts differ by {spread(contexts(r, 'start_ms'), 2)} ms",
    ),
    Guess(
        "How long is what an 8 kHz context gives, against a 48 kHz one?",
        "as long, to a sample of 8 kHz",
        lambda r: max(map(abs, contexts(r, "seconds"))) <= 1.5 / 8_000,
        lambda r: f"{spread([1e3 * x for x in contexts(r, 'seconds')], 2)} ms",
    ),
    Guess(
        "M4A with AAC by ffmpeg, whose edit list declares the delay: where does the sound begin?",
        "on time in Chromium as in PyAV",
        lambda r: are_within(r, ".m4a", "AAC", "start_ms", 0.5),
        lambda r: listed(edges(r, ".m4a", "AAC", "start_ms")),
    ),
    Guess(
        "The same: where does it end?",
        "up to 1,023 samples late in both: FFmpeg keeps the padding of the last block, and "
        "Chromium decodes with FFmpeg",
        lambda r: all(
            max(one["end_ms"] for _, one in of(r, reader, ".m4a", "AAC")) > 5
            for reader in (PYAV, WIDE)
        ),
        lambda r: listed(edges(r, ".m4a", "AAC", "end_ms")),
    ),
    Guess(
        "AAC without a container, where nothing declares the delay: how late does it begin?",
        "by 1,024 samples, in Chromium as in PyAV",
        lambda r: all(
            abs(one["start_ms"] - 1.024e6 / row["rate"]) < 0.5
            for reader in (PYAV, WIDE)
            for row, one in of(r, reader, ".aac", "AAC (ADTS)")
        ),
        lambda r: listed(edges(r, ".aac", "AAC (ADTS)", "start_ms")),
    ),
    Guess(
        "MP3 by lame, whose index frame tells delay and padding: where does the sound begin?",
        "on time in libsndfile, PyAV and Chromium; late by 1,105 samples in SoX, which knows no "
        "index",
        lambda r: (
            all(
                max(abs(one["start_ms"]) for _, one in of(r, x, ".mp3", "MP3, variable", "lame"))
                < 0.5
                for x in (SNDFILE, PYAV, WIDE)
            )
            and min(one["start_ms"] for _, one in of(r, SOX, ".mp3", "MP3, variable", "lame")) > 10
        ),
        lambda r: listed(edges(r, ".mp3", "MP3, variable", "start_ms", "lame")),
    ),
    Guess(
        "Opus in Ogg by opusenc: are both ends exact?",
        "yes, in all readers that open it: the format declares both",
        lambda r: (
            are_within(r, ".opus", "Opus", "start_ms", 0.5)
            and are_within(r, ".opus", "Opus", "end_ms", 0.5)
        ),
        lambda r: (
            "start "
            + listed(edges(r, ".opus", "Opus", "start_ms"))
            + "; end "
            + listed(edges(r, ".opus", "Opus", "end_ms"))
        ),
    ),
    Guess(
        "Opus in WebM by ffmpeg: are both ends exact in Chromium, the format's home?",
        "yes, to half a ms: CodecDelay and DiscardPadding are declared",
        lambda r: (
            are_within(r, ".webm", "Opus", "start_ms", 0.5)
            and are_within(r, ".webm", "Opus", "end_ms", 0.5)
        ),
        lambda r: (
            "start "
            + listed(edges(r, ".webm", "Opus", "start_ms"))
            + "; end "
            + listed(edges(r, ".webm", "Opus", "end_ms"))
        ),
    ),
    Guess(
        "Ogg Vorbis by oggenc: where does it end?",
        "exact in libsndfile and SoX, which use the reference library; up to 32 ms off in PyAV and "
        "in Chromium, which use FFmpeg",
        lambda r: (
            all(
                max(abs(one["end_ms"]) for _, one in of(r, x, ".ogg", "Vorbis", "oggenc")) < 0.5
                for x in (SNDFILE, SOX)
            )
            and all(
                max(abs(one["end_ms"]) for _, one in of(r, x, ".ogg", "Vorbis", "oggenc")) > 0.5
                for x in (PYAV, WIDE)
            )
        ),
        lambda r: listed(edges(r, ".ogg", "Vorbis", "end_ms", "oggenc")),
    ),
    Guess(
        "By how much does the level of a lossless file differ between readers?",
        "by less than 0.001 dB",
        lambda r: max(abs(x) for found in levels(r).values() for x in found) < 1e-3,
        lambda r: listed({reader: f"{spread(found, 4)} dB" for reader, found in levels(r).items()}),
    ),
    Guess(
        "A 16-bit sample of 16,384: what number is it, in WAV and in FLAC?",
        "0.5, in all readers",
        lambda r: (
            {
                round(value["high"], 7)
                for name in ("16 bit", "FLAC")
                for value in r["levels"][name].values()
            }
            == {0.5}
        ),
        lambda r: "; ".join(
            f"{name}: "
            + ", ".join(
                f"{reader} {value['low']:.7g} and {value['high']:.7g}"
                for reader, value in r["levels"][name].items()
            )
            for name in ("16 bit", "FLAC")
        ),
    ),
    Guess(
        "Float WAV that goes up to 2: who clips it?",
        "SoX alone, which computes with 32-bit integers",
        lambda r: (
            {reader for reader, value in r["levels"]["float"].items() if value["high"] < 1.9}
            == {SOX}
        ),
        lambda r: ", ".join(
            f"{reader} {value['high']:.4g}" for reader, value in r["levels"]["float"].items()
        ),
    ),
    Guess(
        "A file of 48 kHz in an 8 kHz context: what is left of tones above 4.4 kHz?",
        "nothing above -60 dB: a browser resamples as well as any program",
        lambda r: max(aliases(r["tones"]["48000"][NARROW])) <= -60,
        lambda r: listed(
            {
                f"{reader}, {rate} Hz": f"up to {max(aliases(tones)):.0f} dB"
                for rate in ("48000", "44100", "16000")
                for reader, tones in r["tones"][rate].items()
            }
        ),
    ),
    Guess(
        "The same: what does a tone of 3 kHz lose?",
        "less than 0.5 dB",
        lambda r: passed(r["tones"]["48000"][NARROW], "3000") > -0.5,
        lambda r: listed(
            {
                reader: f"{passed(tones, '3000'):+.1f} dB"
                for reader, tones in r["tones"]["48000"].items()
            }
        ),
    ),
    Guess(  # written when the tones were known, before the speech was
        "Single digits at 48 kHz in FLAC: how often is another one recognized on the page than in "
        "Python?",
        "of up to 1 in 50",
        lambda r: r["before"]["speech"]["different"] <= 0.02 * r["speech"]["files"],
        lambda r: (
            f"{r['before']['speech']['different']} of {r['speech']['files']} recordings before it "
            f"was mended, {r['speech']['different']} now; right now: "
            + listed({reader: str(count) for reader, count in r["speech"]["right"].items()})
        ),
    ),
    Guess(
        "A microphone of 48 kHz in an 8 kHz AudioContext: what is left of tones above 4.4 kHz?",
        "nothing above -60 dB, as with files",
        lambda r: max(aliases(microphone(r, "plain", "8 kHz")["tones"])) <= -60,
        lambda r: (
            f"up to {max(aliases(microphone(r, 'plain', '8 kHz')['tones'])):.0f} dB; 3 kHz "
            f"loses {-passed(microphone(r, 'plain', '8 kHz')['tones'], '3000'):.1f} dB"
        ),
    ),
    Guess(
        "getUserMedia with echo cancellation, noise suppression and gain control off: is the sound "
        "the fake microphone's, in level?",
        "yes, to 0.1 dB",
        lambda r: abs(microphone(r, "plain", "48 kHz")["level_db"]) < 0.1,
        lambda r: f"{microphone(r, 'plain', '48 kHz')['level_db']:+.2f} dB",
    ),
    Guess(
        "getUserMedia({audio: true}), with what a browser does for telephony: are the digits "
        "right, and the level within 6 dB?",
        "yes: it is made for speech",
        lambda r: (
            microphone(r, "default", "48 kHz")["digits"] == r["spoken"]
            and abs(microphone(r, "default", "48 kHz")["level_db"]) <= 6
        ),
        lambda r: (
            f"{microphone(r, 'default', '48 kHz')['level_db']:+.1f} dB, digits "
            f"{microphone(r, 'default', '48 kHz')['digits']} of {r['spoken']}"
        ),
    ),
    Guess(
        "Which types does MediaRecorder write?",
        "WebM and MP4 with Opus, WebM with PCM; no Ogg, and no AAC in Debian's build",
        lambda r: (
            {name for name, one in r["recorder"].items() if "unsupported" not in one}
            == {"audio/webm;codecs=opus", "audio/mp4;codecs=opus", "audio/webm;codecs=pcm"}
        ),
        lambda r: ", ".join(n for n, one in r["recorder"].items() if "unsupported" not in one),
    ),
    Guess(
        "MediaRecorder of sound at 48 kHz, one channel played into a stream: how many channels "
        "has the file?",
        "1, in every type",
        lambda r: (
            {
                one["readers"][PYAV].get("channels")
                for one in r["recorder"].values()
                if "unsupported" not in one
            }
            == {1}
        ),
        lambda r: listed(
            {
                name: str(one["readers"][PYAV].get("channels"))
                for name, one in r["recorder"].items()
                if "unsupported" not in one
            }
        ),
    ),
    Guess(
        "MediaRecorder's own files: do all readers that open one agree on where the digits begin "
        "and on its length?",
        "yes, to 1 ms",
        lambda r: max(disagreement(r).values()) <= 1,
        lambda r: listed({name: f"{value:.1f} ms" for name, value in disagreement(r).items()}),
    ),
    Guess(
        "A file of 5.1 channels: who gives them in another order than WAV has (FL FR FC LFE BL "
        "BR)?",
        "libsndfile and SoX, of Vorbis alone: FL FC FR BL BR LFE, as Vorbis stores them",
        lambda r: (
            {
                (reader, codec)
                for reader in FOUR
                for codec, found in orders(r, reader).items()
                if found != WAV_ORDER
            }
            == {(SNDFILE, "Vorbis"), (SOX, "Vorbis")}
        ),
        lambda r: (
            "; ".join(
                f"{reader}, {codec}: {' '.join(found)}"
                for reader in FOUR
                for codec, found in orders(r, reader).items()
                if found != WAV_ORDER
            )
            or "nobody"
        ),
    ),
    Guess(
        "`channel=N` of 5.1 channels: is it the same one in Python and on the page?",
        "yes, whatever the format",
        lambda r: not r["before"]["channels"],
        lambda r: before(r, "channels") + listed(other_channels(r)),
    ),
    Guess(
        "Of which files is the string recognized differently, read by the four?",
        "of none, MPEG audio at 8 kHz and codecs under 10 kbit/s aside",
        lambda r: (
            not any(
                row["codec"] not in ("AMR-NB, 4.75 kbit/s", "AMR-NB", "Opus, 8 kbit/s")
                and not (row["ending"] == ".mp3" and row["rate"] == 8_000)
                for reader in (SNDFILE, PYAV, NARROW, WIDE, SOX)
                for row, one in kinds(r, reader)
                if one["digits"] != r["spoken"]
            )
        ),
        lambda r: listed(
            {
                reader: "; ".join(other_digits(r, reader)) or "none"
                for reader in (SNDFILE, PYAV, NARROW, WIDE, SOX)
            }
        ),
    ),
    Guess(
        "Of which files does the page read another string than Python?",
        "of none",
        lambda r: not r["before"]["digits"],
        lambda r: before(r, "digits") + ("; ".join(differ(r, PYTHON, PAGE)) or "of none"),
    ),
)


def disagreement(results: Results) -> dict[str, float]:
    """Return by how many ms starts or lengths differ among readers, by type of MediaRecorder."""
    found = {}
    for name, one in results["recorder"].items():
        if "unsupported" in one:
            continue
        opened = [each for each in one["readers"].values() if "refused" not in each]
        starts = [each["start_ms"] for each in opened]
        lengths = [1e3 * each["seconds"] for each in opened]
        found[name] = max(max(starts) - min(starts), max(lengths) - min(lengths))
    return found


def verdicts(results: Results) -> str:
    lines = ["| question | guessed before the run | measured | |", "|---|---|---|---|"]
    counts: Counter[str] = Counter()
    for each in GUESSES:
        verdict = "right" if each.is_right(results) else "**wrong**"
        counts[verdict] += 1
        lines.append(f"| {each.question} | {each.guess} | {each.measured(results)} | {verdict} |")
    said = (
        f"{len(GUESSES)} questions: {counts['right']} guessed right, {counts['**wrong**']} wrong."
    )
    return "\n".join([said, "", *lines])


def files_table(results: Results) -> str:
    """Markdown: one line for all rates and channels of a kind of file."""
    lines = [
        f"| file | sound | written by | {' | '.join(FOUR)} | digits not right |",
        f"|---|---|---|{'---|' * len(FOUR)}---|",
    ]
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for row in results["rows"]:
        groups.setdefault((row["ending"], row["codec"], row["tool"]), []).append(row["readers"])
    for kind, rows in groups.items():
        cells = [*kind, *(edges_of([row[reader] for row in rows]) for reader in FOUR)]
        wrong = {
            reader: sum(
                row[reader].get("digits", results["spoken"]) != results["spoken"] for row in rows
            )
            for reader in FOUR
        }
        cells.append(", ".join(f"{reader} {n} of {len(rows)}" for reader, n in wrong.items() if n))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def edges_of(readings: list[Reading]) -> str:
    """Say what a reader adds before and behind the sound, ms, and its level where that differs."""
    opened = [one for one in readings if "refused" not in one]
    if not opened:
        return "no"
    start, end = (spread([one[key] for one in opened]) for key in ("start_ms", "end_ms"))
    said = f"{start}; {end}".replace("-0.0", "0").replace("+0.0", "0").replace("0 to 0", "0")
    level = min(one["level_db"] for one in opened)
    said += f"; {level:.1f} dB" if level < -1 else ""
    return said if len(opened) == len(readings) else f"{len(opened)} of {len(readings)}: {said}"


def tones_table(results: Results) -> str:
    """Markdown: what is left at 8 kHz of tones of another rate."""
    sources = [
        (f"{int(rate) / 1e3:g} kHz, {reader}", tones)
        for rate, found in results["tones"].items()
        for reader, tones in found.items()
    ]
    sources += [
        (f"{int(rate) / 1e3:g} kHz, {PAGE} before it was mended", tones)
        for rate, tones in results["before"]["tones"].items()
    ]
    sources += [
        (f"microphone, {name}", one["tones"])
        for name, one in results["microphone"].items()
        if name in ("plain, 8 kHz", f"plain, {PAGE}")
    ]
    hz = list(sources[0][1])
    lines = [
        f"| from, by | {' | '.join(f'{int(each):,} Hz' for each in hz)} |",
        f"|---|{'---:|' * len(hz)}",
    ]
    for name, tones in sources:
        levels = [tones[each]["level_db"] for each in hz]
        levels = [
            tones[each]["rest_db"] if level is None else level
            for each, level in zip(hz, levels, strict=True)
        ]
        cells = ["none" if x < -100 else f"{x:.1f}".replace("-0.0", "0.0") for x in levels]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def surround_table(results: Results) -> str:
    lines = ["| sound | reader | channels | error, dB |", "|---|---|---|---:|"]
    for codec, found in results["surround"].items():
        for reader, order in found["orders"].items():
            error = found["error_db"].get(reader)
            said = "" if error is None or reader == PYAV else f"{error:.0f}"
            lines.append(f"| {codec} | {reader} | {' '.join(order)} | {said} |")
    return "\n".join(lines)


def recorder_table(results: Results) -> str:
    lines = [
        "| type | length, s | channels | kHz | sound missing at the end, ms | read by |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, one in results["recorder"].items():
        if "unsupported" in one:
            lines.append(f"| {name} | not written |{' |' * 4}")
            continue
        opened = {n: each for n, each in one["readers"].items() if "refused" not in each}
        first = opened[PYAV]
        cells = [
            name,
            f"{first['seconds']:.2f}",
            str(first["channels"]),
            f"{first['rate'] / 1e3:g}",
        ]
        cells += [f"{max(0, -first['end_ms']):.0f}", ", ".join(opened)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_tables(page: str, results: Results) -> str:
    """Write the tables into the document."""
    from spoken_digits.lab.reporting.readme import replace_between

    tables = {
        "files": files_table,
        "tones": tones_table,
        "surround": surround_table,
        "recorder": recorder_table,
        "guesses": verdicts,
        "versions": versions_line,
    }
    for name, make in tables.items():
        page = replace_between(page, f"readers-{name}", make(results), "readers.md")
    return page


def versions_line(results: Results) -> str:
    said = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return (
        f"Versions: {said}. Files: commit {results['rows_commit']}; all else: commit "
        f"{results['commit']}; before it was mended: commit {results['before']['commit']}."
    )
