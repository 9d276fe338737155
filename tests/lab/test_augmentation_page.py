"""The page of augmentations: all of them are on it, and it says what the policies say."""

import numpy as np
from docs import make_augmentation as page

from spoken_digits.audio import SAMPLE_RATE, read_audio
from spoken_digits.lab.augmentation import spectrogram as spectrograms
from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.augmentation.policies import POLICIES

TEXT = (page.DOCS / "augmentation.md").read_text(encoding="utf-8")


def test_every_transform_is_on_the_page_with_its_picture_and_its_sound() -> None:
    for module in (waveforms, spectrograms):
        for name in module.__all__:
            if name not in ("equalizer_gain_db", "formant_envelope", "noise_gain"):  # parts
                assert name in TEXT, f"{module.__name__}.{name}: run docs/make_augmentation.py"
    media = {path.name for path in page.MEDIA.iterdir()}
    linked = {part.split(")")[0] for part in TEXT.split("(augmentation/")[1:]}
    assert linked == media
    assert sum(path.stat().st_size for path in page.MEDIA.glob("*.flac")) < 600_000


def test_the_table_is_that_of_the_policies() -> None:
    assert page.table(POLICIES) in TEXT, "run docs/make_augmentation.py"


def test_what_is_heard_is_what_the_transform_makes() -> None:
    batch = page.read()
    expected = page.SAMPLES["reject_band"].run(batch, None)[0].numpy()
    found, rate = read_audio(page.MEDIA / "samples-reject_band.flac")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-4)


def test_the_widths_of_masks_stand_for_policies_that_keep_the_default() -> None:
    assert "| `max_freq_mask` |  | 0.34 | 0.2 |" in page.table(POLICIES)
    assert "| `max_time_mask` |  | 0.2 | 0.15 |" in page.table(POLICIES)
