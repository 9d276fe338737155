"""Recognize spoken English digits, single or in strings, of speakers not in the training data.

>>> import spoken_digits as sd
>>> recognizer = sd.load()
>>> answer = recognizer("seven.wav")  # doctest: +SKIP
>>> answer.digit, answer.probability  # doctest: +SKIP
(7, 0.997)
"""

from spoken_digits.audio import AudioError, Encoding, read_audio, to_clip
from spoken_digits.connected import Segment, Stream, Transcriber, Transcript, Update
from spoken_digits.grammar import Grammar
from spoken_digits.recognize import ModelError, Recognition, Recognizer, load

__all__ = [
    "AudioError",
    "Encoding",
    "Grammar",
    "ModelError",
    "Recognition",
    "Recognizer",
    "Segment",
    "Stream",
    "Transcriber",
    "Transcript",
    "Update",
    "__version__",
    "load",
    "read_audio",
    "to_clip",
]

__version__ = "0.1.0"
