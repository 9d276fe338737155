"""The command ``spoken-digits``: each verb imports what it needs when it is called.

Answers go to standard output, progress and warnings to standard error. Exit status: 0 all well,
1 something failed (other inputs are still answered), 2 wrong usage.
"""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence

from spoken_digits import __version__
from spoken_digits.cli import lab, recognizing, recordings
from spoken_digits.cli.arguments import complain

__all__ = ["main"]

# The extra of pyproject.toml that brings each module; those of the base installation have none.
_EXTRAS = {
    "torch": "train",
    "scipy": "train",
    "sklearn": "train",
    "safetensors": "train",
    "onnx": "train",
    "tqdm": "train",
    "matplotlib": "report",
    "jinja2": "report",
    "jiwer": "score",
    "dask": "study",
    "distributed": "study",
    "espeakng_loader": "synth",
    "sounddevice": "mic",
    "av": "formats",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process); its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(argv)
    arguments.command = shlex.join(["spoken-digits", *argv])
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status: int = arguments.verb(arguments)
        print(end="", flush=True)
    except KeyboardInterrupt:
        return complain("interrupted", status=130)
    except BrokenPipeError:  # the reader has seen enough: say nothing, now or at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        return complain(_explain(error, arguments))
    return status


def _explain(error: Exception, arguments: argparse.Namespace) -> str:
    """Say in one line what is wrong."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("spoken_digits"):
        extras = [extra for extra in arguments.extras.split(",") if extra]
        own = _EXTRAS.get(str(error.name).partition(".")[0])
        extras += [own] if own and own not in extras else []
        wanted = f"[{','.join(extras)}]" if extras else ""
        return f"{error.name} is not installed: pip install 'spoken-digits{wanted}'"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ValueError | OSError):  # as every error type of the package
        return text
    return (
        f"{type(error).__name__}: {text}; this should not happen: please report it, with what "
        f"{arguments.command} prints when PYTHONDEVMODE=1 is set"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spoken-digits",
        description="Recognize spoken English digits; train and evaluate models that do.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for part in (recognizing, recordings, lab):
        part.add_verbs(verbs)
    return parser
