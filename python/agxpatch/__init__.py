"""For Python programs that die inside Apple's Metal driver when several threads use the GPU.

    with agxpatch.lock(): ...           one lock for the process, for threads and tasks
    agxpatch.serialize_torch()          the same around what commonly reaches the GPU in PyTorch
    agxpatch.Batcher(fn, max_batch=64)  one worker thread that runs many callers' work in batches
    agxpatch.crashes()                  crash reports by class, with what to do about each
    agxpatch.doctor()                   what this Mac allows

The `agxpatch` program comes with this package; `agxpatch run` guards a process without any change to its code.
"""

from ._batch import Batcher, BatcherClosed, BatcherFull
from ._lock import Holder, LockTimeout, MPSLock, guard_module, lock, unguard_module
from ._program import AgxpatchError, crashes, doctor
from ._torch import Serialized, restore, serialize_torch

__all__ = [
    "AgxpatchError",
    "Batcher",
    "BatcherClosed",
    "BatcherFull",
    "Holder",
    "LockTimeout",
    "MPSLock",
    "Serialized",
    "crashes",
    "doctor",
    "guard_module",
    "lock",
    "restore",
    "serialize_torch",
    "unguard_module",
]
