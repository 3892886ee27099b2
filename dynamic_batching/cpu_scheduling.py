"""How the event loop and the workers share a core: in time slices long enough for warm caches.

Woken for each arrival, the event loop finds its caches cold, and then so does the worker. In a longer slice
it handles several arrivals, and under overload leaves the worker more of the core.
"""

import contextlib
import ctypes
import os
import platform
import struct
import threading

# The slice of a worker, and the longest that an arrival waits for the event loop on a core that they share.
WORKER_SLICE_S = 0.012
# Of a long text's encoder run: a worker on its core has 95 % of it, and waits no longer than this.
PREFILL_NICE = 13
PREFILL_SLICE_S = 0.003

# Numbers of the system calls sched_setattr and sched_getattr, and struct sched_attr: sched_setattr(2).
SYSTEM_CALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}
ATTRIBUTES = struct.Struct("=IIQiIQQQII")
POLICY_FIELD = 1
RUNTIME_FIELD = 5


def yield_to_workers() -> None:
    """From now on the calling thread, the event loop's, interrupts no worker on its core for each arrival.

    Method: SCHED_BATCH (sched(7)), where the system has it.
    """
    policy = getattr(os, "SCHED_BATCH", None)
    if policy is not None and hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, policy, os.sched_param(0))


def use_long_slices() -> None:
    """From now on the calling thread, a worker's, runs for WORKER_SLICE_S before another is run."""
    _set_slice(WORKER_SLICE_S)


def run_in_background() -> None:
    """From now on the calling thread has the smaller part of a core that it shares with a worker.

    Method: a nice value, which Linux has for each thread (sched(7)); elsewhere nothing.
    """
    if platform.system() == "Linux":
        thread_id = threading.get_native_id()
        with contextlib.suppress(OSError):
            nice = os.getpriority(os.PRIO_PROCESS, thread_id)
            os.setpriority(os.PRIO_PROCESS, thread_id, nice + PREFILL_NICE)
    _set_slice(PREFILL_SLICE_S)


def _set_slice(seconds: float) -> None:
    """Gives the calling thread a slice, which Linux heeds from 6.12 on (EEVDF); elsewhere nothing."""
    set_attributes, _ = SYSTEM_CALLS.get(platform.machine(), (None, None))
    fields = attributes_of(0)
    if fields is not None:
        # A thread starts with the policy of the one that started it: the event loop's.
        fields[POLICY_FIELD] = os.SCHED_OTHER
        fields[RUNTIME_FIELD] = round(seconds * 1e9)
        ctypes.CDLL(None).syscall(set_attributes, 0, ATTRIBUTES.pack(*fields), 0)


def slice_s(thread_id: int) -> float | None:
    """A thread's slice in seconds; 0 or the system's own where none was set, None where none is reported."""
    fields = attributes_of(thread_id)
    return None if fields is None else float(fields[RUNTIME_FIELD]) / 1e9


def attributes_of(thread_id: int) -> list[int] | None:
    """The fields of a thread's struct sched_attr, 0 for the calling thread's; None where there are none."""
    _, get_attributes = SYSTEM_CALLS.get(platform.machine(), (None, None))
    if platform.system() != "Linux" or get_attributes is None:
        return None
    read = ctypes.create_string_buffer(ATTRIBUTES.size)
    if ctypes.CDLL(None).syscall(get_attributes, thread_id, read, ATTRIBUTES.size, 0):
        return None
    return list(ATTRIBUTES.unpack(read.raw))
