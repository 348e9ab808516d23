"""torchrun for clusters: `python -m tenet.launching.torchrun ARGUMENTS` takes torchrun's arguments.

It differs in two points. SIGUSR1, which Slurm sends to all processes of a job step, does not end it, so that its
processes can write a checkpoint. And it exits with the code of its processes: 75 if they stopped after a checkpoint.
"""

import signal
import sys

from tenet.failures import FAILED, PREEMPTED


def main() -> int:
    # A handler, because the processes would inherit that a signal is ignored. Before torch, which loads for seconds.
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        return PREEMPTED if PREEMPTED in codes else FAILED
    except SignalException:
        return PREEMPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
