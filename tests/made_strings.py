"""A result of strings of digits, made up by hand, in the layout of results/strings.json."""

from typing import Any


def scored_strings() -> dict[str, Any]:
    score = {
        "strings": 200, "digits": 1_000, "insertions": 5, "deletions": 10, "substitutions": 15,
        "whole": 180, "digit_error": 0.03, "whole_right": 0.9,
    }  # fmt: skip
    joined = score | {"deletions": 30, "whole": 150, "digit_error": 0.05, "whole_right": 0.75}
    speech = false_digits(12, 5_400.0, (4.13, 13.97))
    rustle = false_digits(2_000, 3_600.0, (1_913.3, 2_089.6))
    return {
        "command": "spoken-digits strings pool 0.json 1.json",
        "models": {f"an4:{k}: model": {"command": f"train {k}"} for k in range(2)},
        "split": None,
        "seed": 0,
        "evaluation": {
            "strings": {"an4": score, "an4, doubled": score, "all of the split": joined},
            "delay_ms": {"count": 9, "median": 50.0, "p95": 98.7, "max": 140.0, "values": []},
            "false_digits": {"wuw2": speech, "an4 and wuw2": speech, "rustle": rustle},
            "differences": {
                "an4, doubled less not doubled": {
                    "difference": 0.005,
                    "interval": [-0.002, 0.012],
                    "speakers": {"a": [1, 10, 0, 10], "b": [0, 10, 0, 10]},
                }
            },
            "curve": {
                "thresholds": [-2.0, 0.0, 2.0],
                "missed": {"an4": [0, 10, 40]},
                "errors": {"an4": [60, 30, 50]},
                "digits": {"an4": 1_000},
                "false_digits": {"wuw2": [200, 12, 0], "rustle": [9_000, 2_000, 10]},
                "seconds": {"wuw2": 5_400.0, "rustle": 3_600.0},
            },
        },
        "folds": {
            f"an4:{k}": {
                "strings": {"an4": score | {"digit_error": 0.02 + 0.02 * k}},
                "delay_ms": None,
                "false_digits": {"rustle": rustle | {"per_hour": 9.0 + 2 * k}},
                "differences": {},
                "curve": None,
            }
            for k in range(2)
        },
    }


def false_digits(count: int, seconds: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {
        "recordings": 3,
        "by_digit": [count, *[0] * 9],
        "count": count,
        "seconds": seconds,
        "per_hour": 3_600 * count / seconds,
        "interval": list(interval),
    }
