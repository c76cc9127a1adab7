"""How threads that compute together wait for each other."""

import os
from collections.abc import Mapping

# Several threads work on one operation of torch, and those that are through wait for the last. By default they spin,
# for up to 8 ms: where other work holds the core that the last one needs, they burn what it is waiting for. Beside ten
# other processes a small training step took 1,120 ms of CPU where one on a single thread took 96. Threads that sleep at
# once pay for it on a machine that is free, since waking up takes longer than most of these waits; 1,000 turns, some 30
# us, cost little beside other work, and win part of that back. OpenMP of another make (macOS) knows the first variable
# alone. Figures: benchmarks/README.md, beside.py.
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
_SAME_MATTER = (*_PATIENT, "KMP_BLOCKTIME")


def patient() -> Mapping[str, str]:
    """Environment of a process that computes; OpenMP reads it when torch is imported. What the user set stays.

    It changes how long a computation takes, and no bit of what comes out.
    """
    return {} if any(name in os.environ for name in _SAME_MATTER) else _PATIENT
