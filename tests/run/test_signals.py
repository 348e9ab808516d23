"""Real signals, sent before, within and after postponed blocks."""

import os
import signal
import threading

import pytest

from tenet.run.signals import StopSignals

TERMINATED, INTERRUPTED = "Preempted('SIGTERM')", "KeyboardInterrupt()"


def send(number):
    os.kill(os.getpid(), number)


def outcome_of(work):
    """Return the marks that `work(stop, mark)` reached, and the repr of the exception; None without one."""
    marks = []
    try:
        with StopSignals() as stop:
            work(stop, marks.append)
    except BaseException as error:
        return marks, repr(error)
    return marks, None


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGTERM, TERMINATED),
        (signal.SIGUSR1, "Preempted('SIGUSR1')"),
        (signal.SIGHUP, "Preempted('SIGHUP')"),
        (signal.SIGINT, INTERRUPTED),
    ],
)
def test_a_signal_is_raised_at_once_with_its_name(number, error):
    def work(stop, mark):
        send(number)
        mark("not at once")

    assert outcome_of(work) == ([], error)


def test_a_postponed_signal_is_raised_by_check():
    def work(stop, mark):
        with stop.postponed():
            send(signal.SIGTERM)
            mark("the rest of the step")
            stop.check()
            mark("the next step")

    assert outcome_of(work) == (["the rest of the step"], TERMINATED)


def test_an_unchecked_signal_is_raised_at_the_end_of_the_postponed_block():
    def work(stop, mark):
        with stop.postponed():
            send(signal.SIGTERM)
            mark("the last checkpoint")
        mark("what comes after")

    assert outcome_of(work) == (["the last checkpoint"], TERMINATED)


def test_an_error_in_the_postponed_block_takes_precedence_over_the_signal():
    def work(stop, mark):
        with stop.postponed():
            send(signal.SIGTERM)
            raise ValueError("first")

    assert outcome_of(work) == ([], "ValueError('first')")


def test_at_once_within_a_postponed_block_interrupts_the_work_or_prevents_its_start():
    def breaks(stop, mark):
        with stop.postponed(), stop.at_once():
            send(signal.SIGTERM)
            mark("not at once")

    def waits(stop, mark):
        with stop.postponed():
            send(signal.SIGTERM)
            with stop.at_once():
                mark("begun")

    assert outcome_of(breaks) == outcome_of(waits) == ([], TERMINATED)


def test_a_second_sigint_is_raised_at_once():
    def work(stop, mark):
        with stop.postponed():
            send(signal.SIGINT)
            mark("the first waits")
            send(signal.SIGINT)
            mark("the second too")

    assert outcome_of(work) == (["the first waits"], INTERRUPTED)


def test_only_a_second_sigint_interrupts_the_cleanup():
    def ends(stop, mark):
        try:
            send(signal.SIGTERM)
        finally:
            # Clusters send SIGTERM again some time before they kill the process.
            send(signal.SIGTERM)
            send(signal.SIGINT)
            mark("in good order")

    def breaks(stop, mark):
        try:
            send(signal.SIGINT)
        finally:
            send(signal.SIGINT)
            mark("in good order")

    assert outcome_of(ends) == (["in good order"], TERMINATED)
    assert outcome_of(breaks) == ([], INTERRUPTED)


def test_handlers_are_restored():
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert before == [signal.getsignal(number) for number in numbers]


def test_other_threads_do_not_change_the_handlers():
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(outcome_of(lambda stop, mark: mark("worked"))))
    thread.start()
    thread.join()
    assert outcomes == [(["worked"], None)]


def test_an_ignored_signal_stays_ignored():
    def work(stop, mark):
        send(signal.SIGINT)
        mark("went on")

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert outcome_of(work) == (["went on"], None)
    finally:
        signal.signal(signal.SIGINT, before)
