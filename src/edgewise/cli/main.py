"""Entry point of the command line: commands, options, and errors in one sentence."""

from __future__ import annotations

import difflib
import io
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import partial, wraps
from importlib import import_module
from inspect import getdoc, signature

from edgewise.errors import ArgumentError, EdgewiseError, printable
from edgewise.version import __version__

__all__ = ["COMMANDS", "main"]

# Module and function of each command, imported when the command line is parsed.
COMMANDS = {
    "check": "edgewise.cli.check:check",
    "compare": "edgewise.cli.compare:compare",
    "datasets": "edgewise.cli.datasets:datasets",
    "explain": "edgewise.cli.explain:explain",
    "lottery": "edgewise.cli.lottery:lottery",
}

_BAD_INPUT = 2
_INTERRUPTED = 130  # 128 + SIGINT, as in shells
_SHOWN = 80  # characters of an unknown word in a message
_NEW_LINE = "\n"
_BORDER = re.compile(r"^[\s│|╰+]+|[\s│|╯+]+$")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Words after ``edgewise``; those of the process when left out.

    Returns:
        0 on success, 2 for bad input (one sentence on standard error), 1 for errors of the
        system, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _escape_unprintable()
    try:
        return _run(words)
    except (EdgewiseError, ModuleNotFoundError) as error:
        # A refusal of every backend has one line for each.
        print(f"edgewise: {printable(error, keep=_NEW_LINE)}", file=sys.stderr)
        return _BAD_INPUT
    except OSError as error:
        print(f"edgewise: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("edgewise: stopped.", file=sys.stderr)
        return _INTERRUPTED


def _escape_unprintable() -> None:
    """Print characters that the encoding of the terminal lacks as escapes, without an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(words: list[str]) -> int:
    if words in (["--version"], ["-V"]):
        print(f"edgewise {__version__}")
        return 0
    try:
        import tyro
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the command line needs tyro. Run: pip install 'edgewise[compare]'", name="tyro"
        ) from error
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    name, *options = words
    if name not in COMMANDS:
        raise ArgumentError(
            f"the first word must be one of {', '.join(COMMANDS)}, got {name[:_SHOWN]!r}."
            f"{_meant(name, COMMANDS)} Run: edgewise --help"
        )
    command = _command(name)

    @wraps(command)
    def parsed(*args: object, **options: object) -> Callable[[], int]:
        return partial(command, *args, **options)

    try:
        with _sentences(name, command):
            call = tyro.cli(parsed, prog=f"edgewise {name}", args=options)
    except SystemExit:
        return 0
    return call()


def _command(name: str) -> Callable[..., int]:
    module, _, function = COMMANDS[name].partition(":")
    return getattr(import_module(module), function)


def _help() -> str:
    """The help text, with one line for each command."""
    summaries = {name: (getdoc(_command(name)) or "").splitlines()[0] for name in COMMANDS}
    width = max(map(len, summaries))
    return "\n".join(
        [
            "usage: edgewise COMMAND [OPTIONS]",
            "",
            "Attention over any graph.",
            "",
            *(f"  {name:<{width}}  {summary}" for name, summary in summaries.items()),
            "",
            "Options of a command: edgewise COMMAND --help. Also: edgewise --version.",
        ]
    )


# --- Errors in options ----------------------------------------------------------------------------


@contextmanager
def _sentences(name: str, command: Callable[..., int]) -> Generator[None]:
    """Convert the box that tyro prints for wrong options into one sentence with its cure."""
    box = io.StringIO()
    try:
        with redirect_stderr(box):
            yield
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise ArgumentError(_sentence(name, command, box.getvalue())) from None


def _sentence(name: str, command: Callable[..., int], box: str) -> str:
    """The error in the box, with the command that prints the help.

    Args:
        name: Name of the command.
        command: Its function.
        box: Text that tyro printed.
    """
    # The title in the upper border, then the error, then a line, then advice.
    _, *lines = [_BORDER.sub("", line) for line in box.strip().splitlines()]
    ends = [i for i, line in enumerate(lines) if i and not line.strip("-─+")]
    lines = [line for line in lines[: ends[0] if ends else None] if line.strip("-─+")]
    text = " ".join(" ".join(lines).split())
    options = [f"--{each.replace('_', '-').strip('-')}" for each in signature(command).parameters]
    cure = f"Run: edgewise {name} --help"
    if (match := re.match(r"Unrecognized (?:or misplaced )?options: (.*)", text)) is not None:
        unknown = match[1].split(", ")
        return f"{name} has no {' '.join(unknown)[:_SHOWN]}.{_meant(unknown[0], options)} {cure}"
    if (match := re.match(r"Error parsing (\S+): .*? from \[(.*?)\]", text)) is not None:
        return f"{name}: {match[1]} cannot be {match[2][:_SHOWN]}. {cure}"
    if (match := re.match(r"Missing from [\w ]+: (\S+) (.*?)\.? \(required\)", text)) is not None:
        return f"{name} needs {match[1]}: {match[2][0].lower()}{match[2][1:]}. {cure}"
    return f"{name}: {text.rstrip('.')}. {cure}"


def _meant(word: str, words: Sequence[str] | Mapping[str, str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {near[0]}?" if near else ""
