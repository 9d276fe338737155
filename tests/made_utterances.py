"""Made-up trees in the published layouts of AN4 and WUW II."""

from pathlib import Path

import numpy as np

# speaker, utterance, words as they are written there
AN4 = (
    ("fabc", "an1", "SEVEN OH ZERO"),
    ("fabc", "cen2", "A B C"),
    ("mxyz", "an3", "ENTER NINE"),
    ("mxyz2", "an4", "ONE TWO THREE FOUR FIVE SIX EIGHT"),
)
COLUMNS = ("file", "session", "gender", "dialect", "phone", "start_s", "end_s", "transcript")


def sound(seed: int, seconds: float = 2.0, rate: int = 16_000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 300, round(seconds * rate)))  # smooth, as speech is
    return np.clip(walk - np.convolve(walk, np.ones(50) / 50, "same"), -32_768, 32_767).astype(
        np.int16
    )


def sphere(samples: np.ndarray) -> bytes:
    """Write NIST SPHERE by its definition: a header of text in 1,024 bytes, then the samples."""
    fields = (
        f"sample_count -i {len(samples)}",
        "sample_rate -i 16000",
        "sample_n_bytes -i 2",
        "sample_byte_format -s2 01",
        "channel_count -i 1",
        "sample_coding -s3 pcm",
        "end_head",
    )
    header = "\n".join(("NIST_1A", "   1024", *fields, "")).encode()
    return header.ljust(1024) + samples.astype("<i2").tobytes()


def write_an4(folder: Path, part: str = "train", rows=AN4, suffix: str = ".sph") -> Path:
    wav = {"train": "an4_clstk", "test": "an4test_clstk"}[part]
    transcripts, listing = "", ""
    for index, (speaker, utterance, words) in enumerate(rows):
        name = f"{utterance}-{speaker}-b"
        file = folder / "wav" / wav / speaker / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        samples = sound(index)
        raw = samples.astype({".raw": ">i2", ".little": "<i2"}.get(suffix, "<i2")).tobytes()
        file.with_suffix(suffix.replace(".little", ".raw")).write_bytes(
            sphere(samples) if suffix == ".sph" else raw
        )
        transcripts += f"<s> {words} </s> ({name})\n"
        listing += f"{wav}/{speaker}/{name}\n"
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc" / f"an4_{part}.transcription").write_text(transcripts)
    (folder / "etc" / f"an4_{part}.fileids").write_text(listing)
    return folder


def write_wuw2(folder: Path, transcripts: dict[str, str], **cells: str) -> Path:
    """Write a table with a row a transcript; the key is <session>/<utterance>."""
    lines = ["\t".join(COLUMNS)]
    for index, (name, transcript) in enumerate(transcripts.items()):
        session = name.partition("/")[0]
        path = f"calls/{name}.ulaw"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(np.random.default_rng(index).bytes(16_000))
        row = {
            "file": path,
            "session": session,
            "gender": "female",
            "dialect": "native",
            "phone": "cellphone",
            "start_s": "0.25",
            "end_s": "1.5",
            "transcript": transcript,
        } | cells
        lines.append("\t".join(row[column] for column in COLUMNS))
    (folder / "utterances.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
