"""Bounds how many threads of a Python program use the GPU at once.

The remedy that needs nothing but Python: while a thread holds a place it may encode GPU work. With one place this is a
lock, which is enough for the common crash; more places are for a PyTorch fork with a pool of streams. It covers only
code that takes a place. `agxpatch run --guard serialize` and `--guard throttle=N` do the same below Python, for every
caller of Metal.

    from agxpatch import lock               # or: from agx_mps_lock import lock, for this file alone

    with lock():                            # one lock for the whole process
        y = model(x.to("mps"))
        result = y.cpu()                    # leave when the GPU is done

    async with lock():                      # the same place, held by a task
        ...

    with lock().within(5):                  # LockTimeout names the holder; also `async with`
        ...

A place belongs to the thread that took it or, inside an asyncio task, to that task. Its owner may take it again, so
nested modules do not wait for themselves. A place whose owner ends without giving it back is given back for it. A
thread that a task waits for is another owner: where a task hands its work to a thread, that thread takes the place.

This file has no dependencies and may be copied into a project. Importing it does not import torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import copyreg
import functools
import inspect
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, TypeVar, cast

__all__ = ["Holder", "LockTimeout", "MPSLock", "guard_module", "lock", "unguard_module"]

_LOGGER = logging.getLogger("agxpatch")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class LockTimeout(TimeoutError):
    """No place came free in time. The message names who holds the places."""


class Holder:
    """Who holds a place: the name of a thread or task, since when, and the line that took it."""

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self.where = where
        self.since = time.monotonic()

    def __str__(self) -> str:
        return f"{self.name}, for {time.monotonic() - self.since:.1f} s, taken at {self.where}"


class _Owner:
    """A thread or a task, as a lock knows it. It lives as long as the thread's local storage or the task does."""

    def __init__(self, lock: MPSLock, name: str, loop: Optional[asyncio.AbstractEventLoop] = None) -> None:
        self.name = name
        self.loop = loop
        self.depth = 0
        self.borrowed = False
        self.holder: Optional[Holder] = None
        self._lock = weakref.ref(lock)

    def gone(self) -> None:
        """Gives back what a thread or task that has ended still holds."""
        lock = self._lock()
        if self.depth and lock is not None:
            lock._abandoned(self)


class _ThreadPresence:
    """Kept in a thread's local storage: Python drops it when the thread ends, and with it the thread's place."""

    def __init__(self, owner: _Owner) -> None:
        self.owner = owner

    def __del__(self) -> None:
        self.owner.gone()


class _Waiter:
    """Someone in the queue. `wake` is called, without the guard held, once the place is theirs."""

    def __init__(self, owner: _Owner, wake: Callable[[], object]) -> None:
        self.owner = owner
        self.wake = wake
        self.granted = False


class _Within:
    """A place for a block, taken within a time."""

    def __init__(self, lock: MPSLock, seconds: float) -> None:
        self._lock = lock
        self._seconds = seconds

    def __enter__(self) -> MPSLock:
        return self._taken(self._lock.acquire(timeout=self._seconds))

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    async def __aenter__(self) -> MPSLock:
        return self._taken(await self._lock._enter_async(self._seconds))

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    def _taken(self, taken: bool) -> MPSLock:
        if not taken:
            raise LockTimeout(f"no place came free within {self._seconds} s; held by {self._lock._names()}")
        return self._lock


class MPSLock:
    """At most `places` owners inside at once, first come, first served; an owner inside may enter again.

    `synchronize` is called, if given, when an owner leaves for good, while it still holds its place: work that is
    encoded but not yet done still uses the encoders the lock is for. `MPSLock.for_mps()` waits for torch's MPS device.
    """

    def __init__(self, places: int = 1, synchronize: Optional[Callable[[], object]] = None) -> None:
        if places < 1:
            raise ValueError("places must be 1 or more")
        self.places = places
        self._synchronize = synchronize
        # Re-entrant, because the end of a thread may run inside any allocation of this one.
        self._guard = threading.RLock()
        self._held: List[_Owner] = []
        self._waiters: Deque[_Waiter] = deque()
        self._threads = threading.local()
        self._tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], _Owner] = weakref.WeakKeyDictionary()
        self._lenders: List[Callable[[], bool]] = []
        _LOCKS.add(self)

    @classmethod
    def for_mps(cls, places: int = 1) -> MPSLock:
        """A lock whose owners wait for the GPU before they leave, by `torch.mps.synchronize`."""
        return cls(places, synchronize=_synchronize_mps)

    @property
    def depth(self) -> int:
        """How often the calling thread or task has entered and not left."""
        return self._owner().depth

    @property
    def holders(self) -> List[Holder]:
        """Who holds a place now."""
        with self._guard:
            return [owner.holder for owner in self._held if owner.holder is not None]

    def locked(self) -> bool:
        """Whether a new owner would have to wait."""
        with self._guard:
            return len(self._held) >= self.places

    def acquire(self, blocking: bool = True, timeout: Optional[float] = None) -> bool:
        """Takes a place, as `threading.Lock.acquire` does; False if none came free.

        A time-out is logged with the names of the holders; `within` raises them instead. No `timeout`, or -1, waits for
        ever; a task may not wait for ever for another task of its own loop, which could not go on.
        """
        if timeout == -1:
            timeout = None
        if timeout is not None and not timeout >= 0:
            raise ValueError("timeout must not be negative")
        if not blocking:
            if timeout is not None:
                raise ValueError("a call that does not block takes no timeout")
            timeout = 0.0
        owner, woken = self._owner(), threading.Event()
        if timeout is None:
            self._refuse_deadlock(owner)
        waiter = self._enter(owner, woken.set, may_wait=timeout != 0.0)
        if waiter is None:
            return owner.depth > 0
        try:
            woken.wait(timeout)
        except BaseException:
            # A place that was granted while the wait was interrupted must not be lost.
            self._stop_waiting(waiter, keep=False)
            raise
        granted = self._stop_waiting(waiter, keep=True)
        if not granted:
            _LOGGER.warning("no place came free within %s s; held by %s", timeout, self._names())
        return granted

    def release(self) -> None:
        """Gives the place back; an error if the calling thread or task has none."""
        owner = self._owner()
        if owner.depth == 0:
            raise RuntimeError("this thread holds no place")
        if owner.depth > 1 or owner.borrowed:
            owner.depth -= 1
            return
        try:
            if self._synchronize is not None:
                self._synchronize()
        finally:
            self._leave(owner)

    def within(self, seconds: float) -> _Within:
        """Holds a place for a `with` or `async with` block; `LockTimeout` names the holders if none comes free."""
        return _Within(self, max(seconds, 0.0))

    @contextlib.contextmanager
    def lent_to(self, works_for_us: Callable[[], bool]) -> Iterator[None]:
        """While the calling owner waits inside this block, threads for which `works_for_us()` is true enter freely.

        They work for an owner that has a place and cannot go on without them, so that making them wait would be a
        deadlock. `serialize_torch` lends the place of `backward` to autograd's threads this way.
        """
        with self:
            with self._guard:
                self._lenders.append(works_for_us)
            try:
                yield
            finally:
                with self._guard:
                    self._lenders.remove(works_for_us)

    def __enter__(self) -> MPSLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    async def __aenter__(self) -> MPSLock:
        await self._enter_async(None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    async def _enter_async(self, timeout: Optional[float]) -> bool:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not woken.done():
                woken.set_result(None)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: its tasks are gone
                loop.call_soon_threadsafe(finish)

        waiter = self._enter(self._owner(), wake, may_wait=True)
        if waiter is None:
            return True
        try:
            await asyncio.wait([woken], timeout=timeout)
        except BaseException:
            self._stop_waiting(waiter, keep=False)
            raise
        return self._stop_waiting(waiter, keep=True)

    def __call__(self, function: _Function) -> _Function:
        """As a decorator: `function`, which may be a coroutine function, runs with a place."""
        guarded: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded(*arguments: Any, **named: Any) -> Any:
                async with self:
                    return await function(*arguments, **named)

        else:

            @functools.wraps(function)
            def guarded(*arguments: Any, **named: Any) -> Any:
                with self:
                    return function(*arguments, **named)

        return cast(_Function, guarded)

    def _owner(self) -> _Owner:
        """The running task, or else the calling thread."""
        task = _current_task()
        if task is not None:
            with self._guard:
                owner = self._tasks.get(task)
                if owner is None:
                    owner = self._tasks[task] = _Owner(self, f"task {task.get_name()!r}", task.get_loop())
                    task.add_done_callback(lambda _: owner.gone())
            return owner
        presence = getattr(self._threads, "presence", None)
        if presence is None:
            name = threading.current_thread().name
            presence = self._threads.presence = _ThreadPresence(_Owner(self, f"thread {name!r}"))
        return cast(_Owner, presence.owner)

    def _refuse_deadlock(self, owner: _Owner) -> None:
        """An error if a task is about to stop its thread until that thread gives a place back."""
        presence = getattr(self._threads, "presence", None)
        mine = presence.owner if presence is not None else None
        with self._guard:
            full = len(self._held) >= self.places and not any(lender() for lender in self._lenders)
            if owner.loop is None or owner.depth or not full:
                return
            if all(each.loop is owner.loop or each is mine for each in self._held):
                raise RuntimeError(
                    f"waiting here stops the loop that the holder needs; use `async with`: {self._names()}"
                )

    def _enter(self, owner: _Owner, wake: Callable[[], object], may_wait: bool) -> Optional[_Waiter]:
        """Gives `owner` a place, or puts it into the queue and returns its waiter."""
        with self._guard:
            if owner.depth:
                owner.depth += 1
            elif any(works_for_us() for works_for_us in self._lenders):
                owner.depth, owner.borrowed = 1, True
            elif len(self._held) < self.places and not self._waiters:
                self._grant(owner)
            elif may_wait:
                waiter = _Waiter(owner, wake)
                owner.holder = Holder(owner.name, _caller())
                self._waiters.append(waiter)
                return waiter
            return None

    def _grant(self, owner: _Owner) -> None:
        where = owner.holder.where if owner.holder is not None else _caller()
        owner.holder = Holder(owner.name, where)
        owner.depth, owner.borrowed = 1, False
        self._held.append(owner)

    def _leave(self, owner: _Owner) -> None:
        """Ends `owner`'s hold and gives the place to the first in the queue."""
        woken: List[_Waiter] = []
        with self._guard:
            owner.depth, owner.holder = 0, None
            if owner in self._held:
                self._held.remove(owner)
            while self._waiters and len(self._held) < self.places:
                waiter = self._waiters.popleft()
                self._grant(waiter.owner)
                waiter.granted = True
                woken.append(waiter)
        for waiter in woken:
            waiter.wake()

    def _stop_waiting(self, waiter: _Waiter, keep: bool) -> bool:
        """Takes `waiter` out of the queue; whether it has a place and keeps it."""
        with self._guard:
            if not waiter.granted:
                self._waiters.remove(waiter)
                waiter.owner.holder = None
                return False
        if not keep:
            self._leave(waiter.owner)
        return keep

    def _abandoned(self, owner: _Owner) -> None:
        if not owner.borrowed and not sys.is_finalizing():
            _LOGGER.warning("%s ended while it held a place; the place is free again", owner.holder or owner.name)
        self._leave(owner)

    def _names(self) -> str:
        return "; ".join(str(holder) for holder in self.holders) or "nothing any more"

    def _after_fork(self) -> None:
        """In a forked child only the forking thread goes on: what other threads held is free."""
        mine = getattr(getattr(self._threads, "presence", None), "owner", None)
        self._guard = threading.RLock()
        self._held = [owner for owner in self._held if owner is mine]
        self._waiters.clear()


_LOCKS: weakref.WeakSet[MPSLock] = weakref.WeakSet()
_PROCESS: Dict[str, MPSLock] = {}
_PROCESS_GUARD = threading.Lock()


def _after_fork() -> None:
    global _PROCESS_GUARD
    _PROCESS_GUARD = threading.Lock()
    for each in list(_LOCKS):
        each._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def lock(places: Optional[int] = None) -> MPSLock:
    """The lock of this process, the same at every call; made with `places` (by default 1) at the first.

    Asking for another number of places later is a ValueError: two parts of a program would not exclude each other.
    """
    with _PROCESS_GUARD:
        made = _PROCESS.get("lock")
        if made is None:
            made = _PROCESS["lock"] = MPSLock(1 if places is None else places)
    if places is not None and places != made.places:
        raise ValueError(f"the lock of this process has {made.places} places already, not {places}")
    return made


def _current_task() -> Optional[asyncio.Task[Any]]:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no running loop in this thread
        return None


def _caller() -> str:
    """The innermost line outside of this file and of `contextlib`."""
    frame = sys._getframe(1)
    skipped = (__file__, contextlib.__file__, functools.__file__)
    while frame.f_back is not None and frame.f_code.co_filename in skipped:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def guard_module(module: Any, lock: MPSLock) -> Any:
    """Makes every call of a `torch.nn.Module` run with a place of `lock`; returns the module.

    The module gets a class of its own, made from its class, whose `forward` takes a place. That way a copy of the
    module, such as an averaged model, runs its own `forward` with its own weights, under the same lock. A pair of
    forward hooks would not do: where `forward` raises, or another hook does, the place might not come back. A pickled
    module comes back unguarded, because no lock reaches into another process. Calls that bypass `module(...)`, such as
    `module.encode(...)`, are not covered.
    """
    plain = type(module)
    if not callable(getattr(plain, "forward", None)):
        raise TypeError("not a torch.nn.Module: its class has no forward")
    if hasattr(plain, "_agx_mps_lock"):
        raise ValueError("this module is guarded already")
    if "forward" in vars(module):
        raise ValueError("this module has a forward that its class lacks: put `with lock:` around its calls")

    @functools.wraps(plain.forward)
    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        with lock:
            return plain.forward(self, *arguments, **named)

    members: Dict[str, Any] = {
        "forward": forward,
        "_agx_mps_lock": lock,
        "_agx_plain_class": plain,
        "__reduce_ex__": _reduce_unguarded,
        "__deepcopy__": _deepcopy_guarded,
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
    }
    module.__class__ = type(plain.__name__, (plain,), members)
    return module


def unguard_module(module: Any) -> Any:
    """Undoes `guard_module`; returns the module."""
    plain = getattr(type(module), "_agx_plain_class", None)
    if plain is None:
        raise ValueError("this module is not guarded")
    module.__class__ = plain
    return module


def _reduce_unguarded(self: Any, protocol: Any) -> Any:
    """What pickle stores of a guarded module: a module of the plain class."""
    plain = type(self)._agx_plain_class
    make, arguments, *rest = plain.__reduce_ex__(self, protocol)
    if make is getattr(copyreg, "__newobj__"):  # noqa: B009 - the name would be mangled
        make = plain.__new__  # pickle insists that the other makes an object of this very class
    return (make, tuple(plain if each is type(self) else each for each in arguments), *rest)


def _deepcopy_guarded(self: Any, memo: Dict[int, Any]) -> Any:
    """A copy of the same class, guarded by the same lock."""
    plain = type(self)._agx_plain_class
    if hasattr(plain, "__deepcopy__"):
        return plain.__deepcopy__(self, memo)
    guarded: Any = type(self)
    copied = memo[id(self)] = guarded.__new__(guarded)
    state = copy.deepcopy(plain.__reduce_ex__(self, 4)[2], memo)
    if hasattr(plain, "__setstate__"):
        copied.__setstate__(state)
    else:
        vars(copied).update(state or {})
    return copied


def _synchronize_mps() -> None:
    import torch

    if torch.backends.mps.is_available():
        torch.mps.synchronize()
