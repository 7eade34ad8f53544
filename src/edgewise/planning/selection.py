"""The selection of backends for a call: by its argument, a context or the process's default.

The planner chooses among all backends unless something narrows the choice: the call's own argument
first, then the innermost `use_backend` around it, then `set_default_backend`. What the call is part
of narrows it too: forward-mode derivatives, and exporters that support plain torch operations only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from functools import wraps
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar, cast

from edgewise.backends import BACKENDS, Backend
from edgewise.errors import ArgumentError, BackendRefused, DerivativeError, PlanError
from edgewise.ops.tracing import are_transforms_active, forward_mode, in_onnx_export
from edgewise.planning.plan import backend_named

__all__ = [
    "BackendBlock",
    "Selection",
    "around",
    "check_backend_fits",
    "guarded_selection",
    "selected",
    "selection_around",
    "set_default_backend",
    "use_backend",
]

_OPAQUE = "has operators of its own, which exporters and compiled torch.func cannot look into"
F = TypeVar("F", bound=Callable[..., Any])


class Selection(NamedTuple):
    """The conditions on the backend of a call.

    Attributes:
        backend: A backend's name, or ``"auto"`` for any.
        twice_differentiable: Whether gradients of gradients have to work.
        forward_mode: Whether tangents have to be carried forward (``torch.func.jvp``).
        plain_operations: Whether the call has to be recorded as operations of torch alone.
        origin: Which of argument, context and default named the backend.
    """

    backend: str = "auto"
    twice_differentiable: bool = False
    forward_mode: bool = False
    plain_operations: bool = False
    origin: Literal["argument", "context", "default"] = "argument"

    def lacks(self, backend: Backend) -> str | None:
        """The predicate of a sentence on what a backend lacks; None where it lacks nothing."""
        for wanted, has, what in (
            (self.twice_differentiable, backend.twice_differentiable, "has no second derivative"),
            (self.forward_mode, backend.forward_mode, "has no forward-mode derivative"),
            (self.plain_operations, backend.plain_operations, _OPAQUE),
        ):
            if wanted and not has:
                return what
        return None

    def __str__(self) -> str:
        """The Python code that made this selection."""
        twice = ", twice_differentiable=True" if self.twice_differentiable else ""
        name = {
            "argument": "backend={!r}",
            "context": "edgewise.use_backend({!r}{})",
            "default": "edgewise.set_default_backend({!r}{})",
        }[self.origin]
        return name.format(self.backend, twice)


# The selections of the blocks around, outermost first.
_CONTEXT: ContextVar[tuple[Selection, ...]] = ContextVar("edgewise.use_backend", default=())
_DEFAULT = [Selection(origin="default")]  # one entry, replaced as a whole


def around() -> Selection:
    """The selection of a call that names no backend: of the context, or of the process."""
    blocks = _CONTEXT.get()
    return blocks[-1] if blocks else _DEFAULT[0]


def selection_around() -> str:
    """`around` as text, which compiled code can compare."""
    return str(around()._replace(origin="context"))


def selected(backend: str) -> Selection:
    """The selection of a call, from its argument and from what it is part of.

    Raises:
        PlanError: ``backend`` is not a name.
    """
    if not isinstance(backend, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PlanError(f"backend must be a name, got {backend!r}. Use 'auto'.")
    chosen = around() if backend == "auto" else Selection(backend)
    carries, exports = forward_mode(), in_onnx_export()
    if carries or exports:
        return chosen._replace(forward_mode=carries, plain_operations=exports)
    return chosen


def guarded_selection(backend: str) -> Selection:
    """`selected` while torch traces: code compiled under this selection runs under no other."""
    if backend == "auto":
        _guard()
    chosen = selected(backend)
    # A compiler cannot trace an operator's derivative inside torch.func.
    return chosen._replace(plain_operations=True) if are_transforms_active() else chosen


def use_backend(backend: str = "auto", *, twice_differentiable: bool = False) -> BackendBlock:
    """Choose the backend of all calls in a block: those of layers, models and drop-ins too.

    It applies to every call of `attention`, `attention_state`, `aggregate`, `plan` and `explain`
    whose own ``backend`` is ``"auto"``; a name in a call comes first. Blocks nest; the innermost
    counts. A block belongs to its thread and its async task: a thread that is started inside begins
    with the process's default (`set_default_backend`). It may decorate a function too, async or
    not. Compiled code is compiled again when the choice changes; the block is entered around it.

    Code that runs again later follows the block that is open *then*: under
    ``torch.utils.checkpoint`` that is the backward pass. Outside of the block it may save other
    tensors than before, which torch refuses (``CheckpointError``). So choose inside what is run
    again, ``checkpoint(use_backend("gather")(function), ...)``; or, where the checkpoint is not
    yours, for both passes, ``context_fn=lambda: (use_backend("gather"), use_backend("gather"))``,
    or by `set_default_backend`, which also reaches the threads in which torch runs backward passes
    on a GPU.

    Args:
        backend: A backend's name, which never falls back to another, or ``"auto"``.
        twice_differentiable: Choose among backends whose gradients can be differentiated again.

    Raises:
        PlanError: there is no backend of this name.
        DerivativeError: the named backend has no second derivative.

    Example:
        >>> import torch, edgewise as ew
        >>> q = torch.randn(2, 6, 4)
        >>> with ew.use_backend("gather"):
        ...     print(ew.plan(q, q, q, ew.Causal(6)))
        gather
        >>> @ew.use_backend("dense")
        ... def planned():
        ...     return str(ew.plan(q, q, q, ew.Causal(6)))
        >>> planned()
        'dense'
    """
    return BackendBlock(_checked(backend, twice_differentiable, "context"))


def set_default_backend(backend: str = "auto", *, twice_differentiable: bool = False) -> None:
    """Choose the backend of all calls of this process, in every thread.

    Arguments and errors are those of `use_backend`, which comes first where both apply;
    ``set_default_backend()`` takes the choice back.

    Example:
        >>> import torch, edgewise as ew
        >>> q = torch.randn(2, 6, 4)
        >>> ew.set_default_backend("gather")
        >>> print(ew.plan(q, q, q, ew.Causal(6)))
        gather
        >>> ew.set_default_backend()
    """
    _DEFAULT[0] = _checked(backend, twice_differentiable, "default")


def check_backend_fits(backend: Backend, selection: Selection) -> None:
    """Refuse a named backend that lacks what a call needs.

    Raises:
        DerivativeError: it lacks one.
        BackendRefused: it cannot be recorded as operations of torch.
    """
    lacks = selection.lacks(backend)
    if lacks is not None:
        fitting = [
            repr(each.name)
            for each in BACKENDS
            if selection.lacks(each) is None and each.name != "reference"
        ]
        error = BackendRefused if lacks == _OPAQUE else DerivativeError
        raise error(
            f"backend {backend.name!r} {lacks}. Use 'auto' or one of {', '.join(fitting)}: in a "
            f"call as backend='gather', around layers as `with edgewise.use_backend('gather'):`."
        )


def _checked(
    backend: str, twice_differentiable: bool, origin: Literal["context", "default"]
) -> Selection:
    if not isinstance(backend, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PlanError(f"backend must be a name, got {backend!r}. Use 'auto'.")
    selection = Selection(backend, bool(twice_differentiable), origin=origin)
    if backend != "auto":
        check_backend_fits(backend_named(backend), selection)
    return selection


class BackendBlock(AbstractContextManager[None]):
    """A context manager and decorator: its selection holds while a block or a function runs."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def __enter__(self) -> None:
        _CONTEXT.set((*_CONTEXT.get(), self._selection))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # By identity, not by a token: a block object may be entered in several threads at once.
        blocks = list(_CONTEXT.get())
        places = [place for place, each in enumerate(blocks) if each is self._selection]
        if places:
            del blocks[places[-1]]
        _CONTEXT.set(tuple(blocks))

    def __call__(self, function: F) -> F:
        selection = self._selection
        if isinstance(function, type):
            raise ArgumentError(
                f"use_backend: {function.__qualname__} is a class, and a block belongs to calls. "
                f"Decorate its methods, such as forward."
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ArgumentError(
                f"use_backend: {function.__qualname__} is a generator, whose block would stay open "
                f"between its values. Enter the block inside it, around the calls."
            )
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def later(*args: Any, **kwargs: Any) -> Any:
                with BackendBlock(selection):
                    return await function(*args, **kwargs)

            return cast("F", later)

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with BackendBlock(selection):  # one for each call: a function may call itself
                return function(*args, **kwargs)

        return cast("F", inside)


# What torch.compiler.disable sets, which would import the compiler.
for _function in (use_backend, set_default_backend, BackendBlock.__enter__, BackendBlock.__exit__):
    _function._torchdynamo_disable = True  # type: ignore[attr-defined]
    _function._torchdynamo_disable_msg = (  # type: ignore[attr-defined]
        "use_backend and set_default_backend are not compiled. Enter the block around the call of "
        "the compiled function, or name the backend in the call."
    )


def _guard() -> None:
    """Compile code again where it is called under another selection.

    torch traces no context variables, and has no public way to add a condition to compiled code.
    Without the private one, a selection is refused instead of being taken for the first one.
    """
    with suppress(ImportError):
        from torch._dynamo.guards import GuardBuilder, install_guard
        from torch._dynamo.source import AttrSource, CallFunctionNoArgsSource, ImportSource
        from torch._dynamo.symbolic_convert import InstructionTranslator

        try:
            InstructionTranslator.current_tx()
        except AttributeError:  # an exporter that runs Python itself: there is no code to guard
            return
        package, *names = __name__.split(".")
        function: Any = ImportSource(package)
        for name in (*names, selection_around.__name__):
            function = AttrSource(function, name)
        install_guard(CallFunctionNoArgsSource(function).make_guard(GuardBuilder.EQUALS_MATCH))
        return
    if around() != Selection(origin="default"):
        raise PlanError(
            f"{around()} cannot be followed by compiled code in this version of torch. Name the "
            f"backend in the call."
        )
