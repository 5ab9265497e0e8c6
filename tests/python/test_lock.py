"""The process lock: time-outs, tasks, threads that die, places that are lent, forks."""

import asyncio
import gc
import logging
import os
import threading

import agxpatch
import pytest
from agxpatch import LockTimeout, MPSLock

LONG = 30


def in_thread(body):
    """Runs `body` in another thread to its end and returns its result."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(body()), name="other")
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()
    return answers[0]


def test_every_call_of_lock_returns_the_lock_of_the_process():
    assert agxpatch.lock() is agxpatch.lock()
    assert agxpatch.lock().places == 1
    with pytest.raises(ValueError, match="1 places already"):
        agxpatch.lock(2)


def test_acquire_takes_the_arguments_of_threading_lock():
    lock = MPSLock(1)
    assert lock.acquire() and lock.locked()
    assert in_thread(lambda: lock.acquire(False)) is False
    assert in_thread(lambda: lock.acquire(blocking=True, timeout=0.01)) is False
    lock.release()
    assert not lock.locked()


def test_a_time_out_names_the_holder_and_the_line_that_took_the_place(caplog):
    lock = MPSLock(1)
    with lock:

        def body():
            with pytest.raises(LockTimeout) as refused, lock.within(0.01):
                raise AssertionError("entered")
            return str(refused.value)

        with caplog.at_level(logging.WARNING, "agxpatch"):
            told = in_thread(body)
    for text in (told, caplog.text):
        assert "thread 'MainThread'" in text
        assert f"{os.path.basename(__file__)}:" in text


@pytest.mark.parametrize("arguments", [{"blocking": False, "timeout": 1}, {"timeout": -2}, {"timeout": float("nan")}])
def test_acquire_refuses_what_threading_lock_refuses(arguments):
    with pytest.raises(ValueError):
        threading.Lock().acquire(**arguments)
    with pytest.raises(ValueError):
        MPSLock(1).acquire(**arguments)


def test_a_task_that_waits_too_long_is_told_the_holder():
    lock = MPSLock(1)

    async def main():
        async with lock:

            async def other():
                async with lock.within(0.01):
                    raise AssertionError("entered")

            with pytest.raises(LockTimeout, match="held by task 'holder'"):
                await asyncio.ensure_future(other())
            async with lock.within(1):
                assert lock.depth == 2

    async def named():
        await asyncio.get_running_loop().create_task(main(), name="holder")

    asyncio.run(named())
    assert not lock.locked() and not lock._waiters


def test_a_task_that_would_stop_its_own_loop_for_ever_is_told():
    lock = MPSLock(1)

    async def other():
        with lock:
            raise AssertionError("entered")

    async def main():
        async with lock:
            with pytest.raises(RuntimeError, match="use `async with`: task"):
                await asyncio.ensure_future(other())

    asyncio.run(main())
    with lock, pytest.raises(RuntimeError, match="use `async with`: thread"):
        asyncio.run(other())
    assert not lock.locked() and not lock._waiters


def test_within_gives_the_place_back():
    lock = MPSLock(1)
    with lock.within(1):
        assert lock.depth == 1
    assert not lock.locked()


def test_places_are_given_in_the_order_they_were_asked_for():
    lock, order, queued = MPSLock(1), [], []
    with lock:
        for index in range(4):

            def body(index=index):
                with lock:
                    order.append(index)

            queued.append(threading.Thread(target=body))
            queued[-1].start()
            while len(lock._waiters) <= index:
                pass
    for thread in queued:
        thread.join(LONG)
    assert order == [0, 1, 2, 3]


def test_a_place_comes_back_when_its_thread_ends_without_giving_it_back(caplog):
    lock = MPSLock(1)
    with caplog.at_level(logging.WARNING, "agxpatch"):
        assert in_thread(lock.acquire)
        gc.collect()
        assert lock.acquire(timeout=LONG)
    assert "thread 'other'" in caplog.text and "ended while it held a place" in caplog.text


def test_a_waiting_thread_gets_the_place_of_a_thread_that_ended():
    lock, taken = MPSLock(1), threading.Event()
    end = threading.Event()

    def holder():
        lock.acquire()
        taken.set()
        end.wait(LONG)

    thread = threading.Thread(target=holder)
    thread.start()
    taken.wait(LONG)
    waiting = threading.Thread(target=lambda: lock.acquire(timeout=LONG) and lock.release())
    waiting.start()
    while not lock._waiters:
        pass
    end.set()
    waiting.join(LONG)
    thread.join(LONG)
    assert not lock.locked()


def test_tasks_of_one_loop_exclude_each_other():
    lock, inside, most = MPSLock(1), 0, 0

    async def work():
        nonlocal inside, most
        for _ in range(20):
            async with lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    async def main():
        await asyncio.gather(*(work() for _ in range(8)))

    asyncio.run(main())
    assert most == 1 and not lock.locked()


def test_a_task_that_has_a_place_may_enter_again_by_the_plain_form():
    lock = MPSLock(1)

    async def main():
        async with lock:
            with lock:
                return lock.depth

    assert asyncio.run(main()) == 2
    assert not lock.locked()


def test_tasks_and_threads_exclude_each_other():
    lock = MPSLock(1)

    async def main():
        async with lock:
            return await asyncio.get_running_loop().run_in_executor(None, lock.acquire, False)

    assert asyncio.run(main()) is False


def test_a_cancelled_task_leaves_the_queue_and_loses_no_place():
    lock = MPSLock(1)

    async def wait():
        async with lock:
            pass

    async def main():
        async with lock:
            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with lock:
            pass

    asyncio.run(main())
    assert not lock.locked()


def test_a_place_comes_back_when_its_task_ends_without_giving_it_back():
    lock = MPSLock(1)

    async def forgets():
        await lock.__aenter__()

    async def main():
        await asyncio.ensure_future(forgets())
        await asyncio.sleep(0)
        return lock.locked()

    assert asyncio.run(main()) is False


def test_as_a_decorator_it_takes_functions_and_coroutine_functions():
    lock = MPSLock(1)

    @lock
    def plain():
        return lock.depth

    @lock
    async def task():
        return lock.depth

    assert plain() == 1
    assert asyncio.run(task()) == 1


def test_threads_that_work_for_a_holder_enter_while_it_waits_for_them():
    lock, mark = MPSLock(1), threading.local()

    def worker():
        mark.works = True
        with lock, lock:
            return lock.depth

    with lock.lent_to(lambda: getattr(mark, "works", False)):
        assert in_thread(worker) == 2
        assert in_thread(lambda: lock.acquire(False)) is False
    assert not lock.locked()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_another_thread_held_is_free_in_a_forked_child():
    lock, taken, end = MPSLock(1), threading.Event(), threading.Event()

    def holder():
        with lock:
            taken.set()
            end.wait(LONG)

    thread = threading.Thread(target=holder)
    thread.start()
    taken.wait(LONG)
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(False) else 1)
    _, status = os.waitpid(child, 0)
    end.set()
    thread.join(LONG)
    assert status == 0
