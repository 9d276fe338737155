"""The wheel as a user gets it: what it holds, what it asks for, that it answers with no torch."""

import email
import json
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "spoken_digits"

# One worker builds the wheel once and runs all of these.
pytestmark = pytest.mark.xdist_group("wheel")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = "--wheel", "--no-isolation", "--outdir", folder
    run(sys.executable, "-m", "build", *build, REPOSITORY)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        message = email.message_from_bytes(archive.read(name))
    return [Requirement(line) for line in message.get_all("Requires-Dist", [])]


@pytest.fixture(scope="module")
def environment(
    wheel: Path, requirements: list[Requirement], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the programs of an environment with the wheel and its base requirements, no more.

    The requirements are linked from where the tests run, so that nothing is fetched.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = sys.executable, "-m", "pip", "--python", python, "install", "--quiet"
    run(*pip, "--no-deps", "--no-index", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for distribution in installed_closure([r for r in requirements if r.marker is None]):
        files = distribution.files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    return python.parent


def installed_closure(requirements: list[Requirement]) -> list[metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    waiting = list(requirements)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop().name).lower()
        if name not in found:
            found[name] = metadata.distribution(name)
            further = map(Requirement, found[name].requires or [])
            waiting += [r for r in further if r.marker is None or r.marker.evaluate({"extra": ""})]
    return list(found.values())


def test_the_wheel_holds_every_file_of_the_package(names: set[str]) -> None:
    expected = {
        f"spoken_digits/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert expected <= names


@pytest.mark.parametrize(
    "pattern",
    [
        r"spoken_digits/py\.typed",
        r"spoken_digits/assets/digits\.onnx",
        r"spoken_digits/assets/strings\.onnx",
        r"spoken_digits/assets/voices/7/[^/]+\.flac",
        r"spoken_digits/page/(index\.html|page\.(css|js)|icon\.svg)",
        r"spoken_digits/lab/recipes/[^/]+\.toml",
        r"spoken_digits/lab/(reporting|release)/templates/[^/]+",
        r"spoken_digits-[^/]+\.dist-info/licenses/LICENSE",
        r"spoken_digits-[^/]+\.dist-info/licenses/NOTICE",
    ],
)
def test_the_wheel_holds(pattern: str, names: set[str]) -> None:
    assert any(re.fullmatch(pattern, name) for name in names), sorted(names)


def test_the_wheel_holds_nothing_but_the_package(names: set[str]) -> None:
    assert {re.sub(r"-.*", "", name.split("/")[0]) for name in names} == {"spoken_digits"}
    assert not [name for name in names if "test" in name.lower()]


def test_the_wheel_is_small(wheel: Path) -> None:
    runtime = PACKAGE / "page" / "runtime"  # what `make web` brings, already compressed
    brought = sum(path.stat().st_size for path in runtime.glob("*"))
    assert wheel.stat().st_size - brought < 7e6


def test_the_base_installation_asks_for_four_packages(requirements: list[Requirement]) -> None:
    base = {r.name for r in requirements if r.marker is None}
    assert base == {"numpy", "onnxruntime", "soundfile", "soxr"}


def test_torch_has_an_upper_bound(requirements: list[Requirement]) -> None:
    for torch in (r for r in requirements if r.name == "torch"):
        assert "<=" in {specifier.operator for specifier in torch.specifier}


def test_the_installed_program_recognizes_without_torch(environment: Path, tmp_path: Path) -> None:
    python = environment / "python"
    absent = "import importlib.util as u; print([u.find_spec(n) for n in ('torch', 'scipy')])"
    assert run(python, "-c", absent).strip() == "[None, None]"

    recording = tmp_path / "tone.wav"
    t = np.arange(4_000) / 8_000
    soundfile.write(recording, 0.3 * np.sin(2 * np.pi * 440 * t) * np.hanning(len(t)), 8_000)
    answer = json.loads(run(environment / "spoken-digits", "recognize", recording, "--json"))
    assert answer["file"] == str(recording)
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)


def test_training_without_its_extra_says_what_to_install(environment: Path) -> None:
    done = subprocess.run(
        [environment / "spoken-digits", "study"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "spoken-digits[train" in done.stderr
    assert "Traceback" not in done.stderr
