"""A KeyboardInterrupt is raised even if a finalizer swallowed it."""

import signal
import sys
import threading

import pytest

from edgewise.training.interrupt import Interrupt


class Dying:
    """Its finalizer presses Ctrl-C, as if it had come just then."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_a_finalizer_swallowed_is_raised_later(capsys):
    def train(interrupt):
        value = Dying()
        del value  # Python drops the exception here
        interrupt.check()

    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        train(interrupt)
    assert capsys.readouterr().err == ""


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with Interrupt() as interrupt:
        interrupt.check()
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_other_faults_of_finalizers_are_reported(monkeypatch):
    class Broken:
        def __del__(self):
            raise ValueError("broken")

    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: reported.append(fault.exc_type))
    with Interrupt():
        value = Broken()
        del value
    assert reported == [ValueError]


def test_it_works_outside_of_the_main_thread():
    done = []

    def work():
        with Interrupt() as interrupt:
            interrupt.check()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
