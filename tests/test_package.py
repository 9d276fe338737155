"""The public names, and what importing does: nothing."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys

import pytest

import spoken_digits

RECOGNIZING = (
    "spoken_digits",
    *(f"spoken_digits.{name}" for name in ("audio", "cli", "connected", "grammar", "microphone")),
    *(f"spoken_digits.{name}" for name in ("networks", "onnx_check", "probability")),
    *(f"spoken_digits.{name}" for name in ("recognize", "spotting")),
    *(f"spoken_digits.cli.{name}" for name in ("arguments", "lab", "recognizing", "recordings")),
)
HEAVY = ("torch", "av", "scipy", "sklearn", "matplotlib", "librosa", "onnx", "spoken_digits.lab")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_public_means_all():
    assert spoken_digits.__all__ == sorted(spoken_digits.__all__)
    public = {name for name in vars(spoken_digits) if not name.startswith("_")}
    modules = {module.name for module in pkgutil.iter_modules(spoken_digits.__path__)}
    assert public - modules == set(spoken_digits.__all__) - {"__version__"}


def test_every_module_says_what_is_public():
    for module in pkgutil.walk_packages(spoken_digits.__path__, "spoken_digits."):
        if module.name.endswith("__main__") or module.ispkg:
            continue
        names = importlib.import_module(module.name).__all__
        assert set(names) <= set(vars(importlib.import_module(module.name))), module.name


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", spoken_digits.__version__)


@pytest.mark.parametrize("module", RECOGNIZING)
def test_importing_the_recognizing_wing_loads_nothing_heavy_and_says_nothing(module):
    late = (*HEAVY, "onnxruntime", "soundfile", "soxr")
    code = f"import sys, {module}; print([m for m in {late} if m in sys.modules])"
    assert python(code) == "[]\n"


def test_recognizing_a_file_loads_nothing_heavy(tmp_path):
    from toy_model import write_toy_model

    model = write_toy_model(tmp_path / "toy.onnx")
    code = f"""
import sys
import numpy, soundfile, spoken_digits
soundfile.write({str(tmp_path / "a.wav")!r}, numpy.sin(numpy.arange(9000)), 16000)
spoken_digits.load({str(model)!r})({str(tmp_path / "a.wav")!r})
print([m for m in {HEAVY} if m in sys.modules])
"""
    assert python(code) == "[]\n"


def test_recognizing_writes_nothing_beside_it(tmp_path):
    code = "import numpy, spoken_digits; spoken_digits.load()(numpy.ones(9000) / 2, 8000)"
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | folders
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == []


@pytest.mark.parametrize("arguments", [["--help"], ["study", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    late = (*HEAVY, "onnxruntime", "soundfile", "soxr")
    code = f"""
import sys
from spoken_digits.cli import main
try:
    main({arguments})
except SystemExit:
    print([m for m in {late} if m in sys.modules])
"""
    assert python(code).endswith("[]\n")
