"""The README's example runs, and prints what the README shows."""

import contextlib
import io
import re
from pathlib import Path

import torch

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def of_any_machine(text: str) -> list[str]:
    """Without what depends on the machine: its free memory, its prices, and how long it takes."""
    of_machine = ("budget", "prices")
    lines = [line for line in text.strip().splitlines() if not line.startswith(of_machine)]
    return [re.sub(r"about [\d.,]+ \w+,", "about T,", line) for line in lines]


def test_the_example_runs_and_prints_what_is_shown():
    (code,) = [body for language, body in BLOCKS if language == "python"]
    shown = next(body for language, body in BLOCKS if body.startswith("attention"))
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "README.md", "exec"), {})
    assert of_any_machine(printed.getvalue()) == of_any_machine(shown)


def test_every_file_it_names_exists():
    root = Path(__file__).parents[2]
    for target in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (root / target).exists(), target


def test_every_command_it_shows_exists():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"make (\w+)", README):
        assert f"\n{command}:" in makefile, command
