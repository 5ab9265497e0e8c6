"""One worker thread that runs the calls of many threads and tasks as batches.

The published measurements found this to be what scales: one thread that encodes GPU work in large batches is both safe
from the race and far faster than many threads with one sample each. A `Batcher` gathers what arrives within a few
milliseconds, runs the function once, and hands each caller its own result.

    batcher = agxpatch.Batcher(lambda xs: model(torch.stack(xs)).unbind(), max_batch=64)
    y = batcher(x)                 # from any thread
    y = await batcher.acall(x)     # from any task
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import inspect
import os
import queue
import threading
import time
import weakref
from concurrent.futures import Future, InvalidStateError
from typing import Any, Callable, Generic, Iterable, List, Optional, Tuple, TypeVar, Union

__all__ = ["Batcher", "BatcherClosed", "BatcherFull"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_Call = Tuple[Any, "Future[Any]"]


class BatcherClosed(RuntimeError):
    """The batcher takes no more calls."""


class BatcherFull(TimeoutError):
    """The queue stayed full for as long as the caller would wait."""


class _Stop:
    """The last thing in the queue."""


class Batcher(Generic[Item, Result]):
    """Runs `fn` on lists of items, in one thread.

    `fn` takes a list of 1 to `max_batch` items and returns as many results, in order. A batch is run when it is full or
    `max_delay` seconds after its first item arrived. At most `max_queue` calls wait; a further one waits for room. The
    thread starts with the first call. A forked child starts one of its own.

    If `fn` raises for a batch of several, it is called again for each item alone, so that an exception reaches only the
    caller whose item causes it. `fn` must therefore bear being called twice with an item.

    Every call ends: with its result, with an exception, or with `BatcherClosed`. At its end Python waits for the calls
    in the queue, as it does for those of `concurrent.futures`.
    """

    def __init__(
        self,
        fn: Callable[[List[Item]], Iterable[Result]],
        *,
        max_batch: int = 32,
        max_delay: float = 0.002,
        max_queue: int = 1024,
        name: str = "agxpatch-batcher",
    ) -> None:
        if max_batch < 1 or max_queue < 1:
            raise ValueError("max_batch and max_queue must be 1 or more")
        if max_delay < 0:
            raise ValueError("max_delay must not be negative")
        if inspect.iscoroutinefunction(fn):
            raise TypeError("fn runs in a thread of its own and must not be a coroutine function")
        self._fn = fn
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._name = name
        self._closed = False
        self._worker: Optional[threading.Thread] = None
        self._without_worker(max_queue)
        _BATCHERS.add(self)

    def submit(self, item: Item, timeout: Optional[float] = None) -> Future[Result]:
        """Queues a call and returns its future; `BatcherFull` if there was no room for `timeout` seconds."""
        future: Future[Result] = Future()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # Under the lock, so that nothing enters the queue behind the end of it.
            with self._closing:
                if self._closed:
                    raise BatcherClosed("this batcher is closed")
                if self._worker is None:
                    self._worker = threading.Thread(target=self._work, name=self._name, daemon=True)
                    self._worker.start()
                with contextlib.suppress(queue.Full):
                    self._queue.put_nowait((item, future))
                    return future
            if self._in_worker():
                raise BatcherFull("no room in the queue, and this thread is the one that makes room")
            if deadline is not None and time.monotonic() >= deadline:
                raise BatcherFull(f"no room in the queue for {timeout} s")
            self._wait_for_room(deadline)

    def __call__(self, item: Item, timeout: Optional[float] = None) -> Result:
        """The result for `item`; waits for it at most `timeout` seconds, then raises `TimeoutError`."""
        if self._in_worker():
            raise RuntimeError("the function that a batcher runs cannot wait for a call of the same batcher")
        deadline = None if timeout is None else time.monotonic() + timeout
        future = self.submit(item, timeout)
        try:
            return future.result(None if deadline is None else max(deadline - time.monotonic(), 0.0))
        except BaseException as error:
            if future.done():
                raise
            future.cancel()  # The caller has given up, so the call need not be run.
            if isinstance(error, concurrent.futures.TimeoutError):
                raise TimeoutError(f"no result within {timeout} s") from None
            raise

    async def acall(self, item: Item, timeout: Optional[float] = None) -> Result:
        """As a call, for a task. Cancelling the task takes a call that has not started out of the queue."""
        loop = asyncio.get_running_loop()

        async def run() -> Result:
            try:
                future = self.submit(item, 0.0)
            except BatcherFull:
                future = await loop.run_in_executor(None, self.submit, item, timeout)
            return await asyncio.wrap_future(future)

        task = asyncio.ensure_future(run())
        try:
            return await asyncio.wait_for(task, timeout)
        except asyncio.TimeoutError:
            if not task.cancelled():
                raise  # The function raised it.
            raise TimeoutError(f"no result within {timeout} s") from None

    def close(self, *, cancel_pending: bool = False) -> None:
        """Takes no more calls, runs those in the queue, and waits for the worker.

        With `cancel_pending`, calls that have not started end with `BatcherClosed` instead.
        """
        with self._closing:
            first, self._closed = not self._closed, True
        if self._worker is None:
            return
        if first:
            if cancel_pending:
                self._refuse_pending()
            self._queue.put(_Stop())
        if not self._in_worker():
            self._worker.join()

    def __enter__(self) -> Batcher[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _without_worker(self, max_queue: int) -> None:
        """The state before the first call, in which a forked child is too: the worker is a thread of its parent's."""
        self._queue: queue.Queue[Union[_Call, _Stop]] = queue.Queue(max_queue)
        self._closing = threading.Lock()
        self._worker = None

    def _after_fork(self) -> None:
        self._without_worker(self._queue.maxsize)

    def _in_worker(self) -> bool:
        return threading.current_thread() is self._worker

    def _wait_for_room(self, deadline: Optional[float]) -> None:
        with self._queue.not_full:
            if self._queue._qsize() >= self._queue.maxsize:
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                # A bound, because the end of the worker frees no room.
                self._queue.not_full.wait(0.1 if left is None else min(left, 0.1))

    def _work(self) -> None:
        try:
            while self._work_once():
                pass
        finally:
            # `fn` may end this thread, by SystemExit for example; those who wait must hear of it.
            with self._closing:
                self._closed = True
            self._refuse_pending()

    def _work_once(self) -> bool:
        """Runs one batch; False after the last."""
        first = self._queue.get()
        if isinstance(first, _Stop):
            return False
        batch, more = [first], True
        deadline = time.monotonic() + self._max_delay
        while len(batch) < self._max_batch:
            try:
                left = deadline - time.monotonic()
                following = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(following, _Stop):
                more = False
                break
            batch.append(following)
        self._run([call for call in batch if call[1].set_running_or_notify_cancel()])
        return more

    def _run(self, batch: List[_Call]) -> None:
        if not batch:
            return
        try:
            results = self._results([item for item, _ in batch])
        except (Exception, asyncio.CancelledError) as error:
            if len(batch) == 1:
                _fail(batch[0][1], error)
            else:
                for call in batch:
                    self._run([call])
        except BaseException as error:
            for _, future in batch:
                _fail(future, error)
            raise
        else:
            for (_, future), result in zip(batch, results):
                with contextlib.suppress(InvalidStateError):  # The caller set it.
                    future.set_result(result)

    def _results(self, items: List[Item]) -> List[Result]:
        returned = self._fn(items)
        if isinstance(returned, (set, frozenset, dict)):
            raise TypeError(f"the function returned a {type(returned).__name__}, not results in the order of its items")
        results = list(returned)
        if len(results) != len(items):
            raise ValueError(f"the function returned {len(results)} results for {len(items)} items")
        return results

    def _refuse_pending(self) -> None:
        while True:
            try:
                call = self._queue.get_nowait()
            except queue.Empty:
                return
            if not isinstance(call, _Stop):
                _fail(call[1], BatcherClosed("the batcher was closed before this call was run"))


def _fail(future: Future[Any], error: BaseException) -> None:
    if isinstance(error, StopIteration):
        # No future of asyncio takes one, and the task would wait for ever.
        error = RuntimeError(f"the function raised {error!r}")
    with contextlib.suppress(InvalidStateError):  # cancelled, or done
        future.set_exception(error)


_BATCHERS: weakref.WeakSet[Batcher[Any, Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Python ends daemon threads wherever they are, and the calls in the queue with them."""
    for batcher in list(_BATCHERS):
        batcher.close()


def _after_fork() -> None:
    for batcher in list(_BATCHERS):
        batcher._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
