"""The table of files, read by Python; the page walks through the same one in test_page.py."""

import pytest
from made_table import files

from spoken_digits import AudioError, Transcriber
from spoken_digits.reading import open_audio


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber()


@pytest.mark.parametrize("name", files())
def test_each_file_is_heard_whole_or_refused_with_the_reason(name, transcriber, tmp_path):
    wanted = files()[name]
    path = tmp_path / "mine.bin"  # no name helps
    path.write_bytes(wanted.content)
    if wanted.digits is None:
        with pytest.raises(AudioError) as refused:
            transcriber(path)
        message = str(refused.value)
        assert message.startswith(f"{path}: ")
        assert wanted.said in message
        return
    answer = transcriber(path)
    assert answer.digits == wanted.digits
    assert [wanted.said in warning for warning in answer.warnings] == [True] * bool(wanted.said)
    assert all(warning.startswith(f"{path}: ") for warning in answer.warnings)
    with open_audio(path) as recording:
        assert wanted.is_whole(len(recording.read()) / recording.sample_rate)


def test_where_the_page_differs_the_table_says_why():
    for wanted in files().values():
        assert bool(wanted.why) == (wanted.page is not None)
