"""How threads that compute together wait for each other."""

import os
from collections.abc import Mapping

# Several threads work on one operation of torch, and those that are through wait for the last. By default they spin,
# for up to 8 ms: where other work holds the core that the last one needs, they burn what it is waiting for. A training
# step that took 60 ms alone took 1,000 ms and more beside ten other processes, nearly all of it spinning. Threads that
# sleep at once pay for it on a machine that is free, where waking up takes longer than most of these waits; spinning
# for some 30 us first, as libgomp counts it, costs next to nothing beside other work. OpenMP of another make (macOS)
# knows the first variable alone. See benchmarks/beside.py.
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
_SAME_MATTER = (*_PATIENT, "KMP_BLOCKTIME")


def patient() -> Mapping[str, str]:
    """Environment of a process that computes; OpenMP reads it when torch is imported. What the user set stays.

    It changes how long a computation takes, and no bit of what comes out.
    """
    return {} if any(name in os.environ for name in _SAME_MATTER) else _PATIENT
