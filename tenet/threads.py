"""How threads that wait share the processor's cores."""

import os

# Looks at the condition that is waited for before the thread goes to sleep: some microseconds. It is what GNU's
# OpenMP itself takes where threads are more than cores.
SPINS = "1000"


def share_cores() -> None:
    """Let torch's threads wait for each other for a moment awake, and then asleep. Call it before torch loads.

    By default they spin on for milliseconds, and so take the cores from whatever else runs; if they slept at
    once, each of the many short operations of a small network would wait for its threads to wake up
    (docs/performance.md). Does nothing where the environment sets OMP_WAIT_POLICY or GOMP_SPINCOUNT.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = SPINS
