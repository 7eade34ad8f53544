"""The door: which command, and how every failure ends in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata

from edgewise.errors import EdgewiseError

__all__ = ["COMMANDS", "main"]

# Where each command lives: ``module:function``, imported when the command line is read.
COMMANDS = {
    "check": "edgewise.cli.check:check",
    "compare": "edgewise.cli.compare:compare",
    "datasets": "edgewise.cli.datasets:datasets",
    "explain": "edgewise.cli.explain:explain",
    "lottery": "edgewise.cli.lottery:lottery",
}

_BAD_INPUT = 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Words after ``edgewise``; those of the process when left out.

    Returns:
        0 when all went well, 2 for bad input (one sentence on standard error), 1 when the
        system refused something, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["-V"]):
        print(f"edgewise {metadata.version('edgewise')}")
        return 0
    try:
        return _run(words)
    except (EdgewiseError, ModuleNotFoundError) as error:
        print(f"edgewise: {error}", file=sys.stderr)
        return _BAD_INPUT
    except OSError as error:
        print(f"edgewise: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("edgewise: stopped.", file=sys.stderr)
        return _INTERRUPTED


def _run(words: list[str]) -> int:
    try:
        import tyro
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the command line needs tyro. Run: pip install 'edgewise[compare]'", name="tyro"
        ) from error
    commands: dict[str, Callable[..., int]] = {}
    for name, place in COMMANDS.items():
        module, _, function = place.partition(":")
        commands[name] = getattr(import_module(module), function)
    try:
        return tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="edgewise",
            description="Attention over any graph. Also: edgewise --version.",
            args=words or ["--help"],
        )
    except SystemExit as error:  # --help, or words that make no command
        return error.code if isinstance(error.code, int) else 0
