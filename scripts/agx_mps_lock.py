"""Bounds how many threads of a Python program use PyTorch's MPS device at once.

The cure that needs nothing but Python: while a thread holds a place, it may encode GPU work; with one place this is a lock, with two
it is the published sweet spot (some 15 to 25 per cent more operations a second than one). It sees only code that asks for a
place. `agxpatch run --guard serialize` and `--guard throttle=N` do the same beneath Python, for every caller of Metal.

    from agx_mps_lock import MPSLock, guard_module

    lock = MPSLock(2)
    with lock:                      # around create, forward, synchronise
        y = model(x.to("mps"))
        result = y.cpu()            # leave only when the GPU is done: see `synchronize`

    guard_module(model, lock)       # or: every call of the model takes a place by itself

A place may be taken again by the thread that holds one, so nested modules do not wait for themselves. Importing this file does
not import torch.
"""

import copy
import copyreg
import functools
import threading

__all__ = ["MPSLock", "guard_module", "unguard_module"]


class MPSLock:
    """At most `places` threads inside at once; a thread that is inside may enter again.

    `synchronize` is called, if given, when a thread leaves for good, while it still holds its place: work that is encoded but
    not yet done still uses the encoders the lock is for. `for_mps()` gives a lock that waits for torch's MPS device.
    """

    def __init__(self, places=1, synchronize=None):
        if places < 1:
            raise ValueError("places must be 1 or more")
        self.places = places
        self._free = threading.Semaphore(places)
        self._mine = threading.local()
        self._synchronize = synchronize

    @classmethod
    def for_mps(cls, places=1):
        """A lock whose threads wait for the GPU before they leave. Waits through `torch.mps.synchronize`."""
        return cls(places, synchronize=_synchronize_mps)

    @property
    def depth(self):
        """How often the calling thread has entered and not left."""
        return getattr(self._mine, "depth", 0)

    def acquire(self, timeout=None):
        """Takes a place; False when none came free within `timeout` seconds."""
        if self.depth == 0 and not self._free.acquire(timeout=timeout):
            return False
        self._mine.depth = self.depth + 1
        return True

    def release(self):
        """Gives the place back; an error when the calling thread has none."""
        if self.depth == 0:
            raise RuntimeError("this thread holds no place")
        if self.depth > 1:
            self._mine.depth -= 1
            return
        try:
            if self._synchronize is not None:
                self._synchronize()
        finally:
            self._mine.depth = 0
            self._free.release()

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        self.release()

    def __call__(self, function):
        """As a decorator: `function` runs with a place."""

        @functools.wraps(function)
        def guarded(*arguments, **named):
            with self:
                return function(*arguments, **named)

        return guarded


def guard_module(module, lock):
    """Has every call of a `torch.nn.Module` run with a place of `lock`; returns the module.

    The module gets a class of its own, made from its class, whose `forward` takes a place. That way a copy of the module, such as
    an averaged model, runs its own `forward` with its own weights, under the same lock. A pair of forward hooks would not do: where
    `forward` raises, or another hook does, the place might not come back. A pickled module comes back unguarded, for no lock
    reaches into another process. Calls that go around `module(...)`, such as `module.encode(...)`, are not covered.
    """
    plain = type(module)
    if not callable(getattr(plain, "forward", None)):
        raise TypeError("not a torch.nn.Module: its class has no forward")
    if hasattr(plain, "_agx_mps_lock"):
        raise ValueError("this module is guarded already")
    if "forward" in vars(module):
        raise ValueError("this module has a forward of its own, which its class does not know: put `with lock:` around its calls")

    @functools.wraps(plain.forward)
    def forward(self, *arguments, **named):
        with lock:
            return plain.forward(self, *arguments, **named)

    members = {"forward": forward, "_agx_mps_lock": lock, "_agx_plain_class": plain, "__reduce_ex__": _reduce_unguarded}
    members |= {"__deepcopy__": _deepcopy_guarded, "__module__": plain.__module__, "__qualname__": plain.__qualname__}
    module.__class__ = type(plain.__name__, (plain,), members)
    return module


def unguard_module(module):
    """Undoes `guard_module`; returns the module."""
    plain = getattr(type(module), "_agx_plain_class", None)
    if plain is None:
        raise ValueError("this module is not guarded")
    module.__class__ = plain
    return module


def _reduce_unguarded(self, protocol):
    """What pickle stores of a guarded module: a module of the plain class."""
    plain = type(self)._agx_plain_class
    make, arguments, *rest = plain.__reduce_ex__(self, protocol)
    if make is copyreg.__newobj__:
        make = plain.__new__  # pickle insists that the other makes an object of this very class
    return (make, tuple(plain if each is type(self) else each for each in arguments), *rest)


def _deepcopy_guarded(self, memo):
    """A copy of the same class, guarded by the same lock."""
    plain = type(self)._agx_plain_class
    if hasattr(plain, "__deepcopy__"):
        return plain.__deepcopy__(self, memo)
    copied = memo[id(self)] = type(self).__new__(type(self))
    state = copy.deepcopy(plain.__reduce_ex__(self, 4)[2], memo)
    if hasattr(plain, "__setstate__"):
        copied.__setstate__(state)
    else:
        vars(copied).update(state or {})
    return copied


def _synchronize_mps():
    import torch

    if torch.backends.mps.is_available():
        torch.mps.synchronize()
