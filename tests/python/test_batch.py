"""The batcher: many callers, one worker, no call lost."""

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest
from agxpatch import Batcher, BatcherClosed, BatcherFull

LONG = 30


def doubled(items):
    return [2 * item for item in items]


def in_threads(count, body):
    threads = [threading.Thread(target=body, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


class Gate:
    """A function that waits until it is opened, and notes its batches."""

    def __init__(self):
        self.entered, self.open = threading.Event(), threading.Event()
        self.batches, self.threads = [], set()

    def __call__(self, items):
        self.batches.append(list(items))
        self.threads.add(threading.current_thread())
        self.entered.set()
        assert self.open.wait(LONG)
        return doubled(items)


def test_each_caller_gets_its_own_result():
    results = {}
    with Batcher(doubled, max_batch=16) as batcher:

        def work(index):
            for step in range(100):
                results[index, step] = batcher(1000 * index + step)

        in_threads(8, work)
    assert results == {(i, s): 2 * (1000 * i + s) for i in range(8) for s in range(100)}


def test_calls_that_wait_are_run_together_in_one_thread():
    gate = Gate()
    with Batcher(gate, max_batch=8, max_delay=0) as batcher:
        first = batcher.submit(0)
        assert gate.entered.wait(LONG)
        others = [batcher.submit(item) for item in range(1, 13)]
        gate.open.set()
        assert [future.result(LONG) for future in [first, *others]] == [2 * item for item in range(13)]
    assert gate.batches == [[0], list(range(1, 9)), list(range(9, 13))]
    assert len(gate.threads) == 1


def test_a_full_batch_does_not_wait_for_the_delay():
    with Batcher(doubled, max_batch=2, max_delay=LONG) as batcher:
        futures = [batcher.submit(1), batcher.submit(2)]
        assert [future.result(LONG) for future in futures] == [2, 4]


def test_an_exception_reaches_only_the_caller_whose_item_causes_it():
    gate = Gate()

    def picky(items):
        gate(items)
        if 13 in items:
            raise ValueError("thirteen")
        return doubled(items)

    with Batcher(picky, max_batch=8, max_delay=0) as batcher:
        batcher.submit(0)
        assert gate.entered.wait(LONG)
        futures = {item: batcher.submit(item) for item in (12, 13, 14)}
        gate.open.set()
        assert futures[12].result(LONG) == 24
        assert futures[14].result(LONG) == 28
        with pytest.raises(ValueError, match="thirteen"):
            futures[13].result(LONG)


@pytest.mark.parametrize("returned", [lambda items: (2 * item for item in items), lambda items: tuple(doubled(items))])
def test_results_may_come_from_any_iterable(returned):
    with Batcher(returned, max_batch=2, max_delay=LONG) as batcher:
        futures = [batcher.submit(item) for item in (1, 2)]
        assert [future.result(LONG) for future in futures] == [2, 4]


@pytest.mark.parametrize("kind", [set, dict.fromkeys])
def test_results_without_an_order_are_refused(kind):
    with Batcher(kind, max_delay=0) as batcher, pytest.raises(TypeError, match="not results in the order"):
        batcher(1)


def test_no_call_is_lost_where_iterating_over_the_results_fails():
    def breaks(items):
        yield items[0]
        if len(items) > 1:
            raise KeyError("second")

    with Batcher(breaks, max_batch=2, max_delay=LONG) as batcher:
        futures = [batcher.submit(item) for item in (1, 2)]
        assert [future.result(LONG) for future in futures] == [1, 2]


@pytest.mark.parametrize("raised", [StopIteration, asyncio.CancelledError])
def test_exceptions_that_mean_something_to_tasks_end_the_call_and_not_the_worker(raised):
    def picky(items):
        if items == [13]:
            raise raised
        return items

    async def main(batcher):
        with pytest.raises((RuntimeError, asyncio.CancelledError)):
            await batcher.acall(13, timeout=LONG)
        return await batcher.acall(1, timeout=LONG)

    with Batcher(picky, max_delay=0) as batcher:
        assert asyncio.run(main(batcher)) == 1


def test_the_function_may_not_wait_for_its_own_batcher():
    batcher = Batcher(lambda items: [batcher(item) for item in items], max_delay=0)
    with batcher, pytest.raises(RuntimeError, match="the same batcher"):
        batcher(1)


def test_the_function_is_refused_room_that_only_it_could_make():
    def fills(items):
        with pytest.raises(BatcherFull, match="makes room"):
            for _ in range(3):
                batcher.submit(2)
        return items

    batcher = Batcher(lambda items: fills(items) if items == [1] else items, max_batch=1, max_queue=2)
    with batcher:
        assert batcher(1) == 1


def test_a_coroutine_function_is_refused():
    async def later(items):
        return items

    with pytest.raises(TypeError, match="coroutine"):
        Batcher(later)


def test_a_wrong_number_of_results_is_an_error_for_each_caller():
    with Batcher(lambda items: [], max_delay=0) as batcher, pytest.raises(ValueError, match="0 results for 1 items"):
        batcher(1)


def test_tasks_and_threads_share_batches():
    async def main(batcher):
        return await asyncio.gather(*(batcher.acall(item) for item in range(50)))

    with Batcher(doubled, max_batch=64) as batcher:
        assert asyncio.run(main(batcher)) == [2 * item for item in range(50)]


def test_a_task_waits_for_room_in_the_queue():
    async def main(batcher):
        return await asyncio.gather(*(batcher.acall(item) for item in range(20)))

    with Batcher(doubled, max_batch=2, max_queue=1, max_delay=0) as batcher:
        assert sorted(asyncio.run(main(batcher))) == [2 * item for item in range(20)]


def test_a_full_queue_is_refused_after_the_time_out():
    gate = Gate()
    with Batcher(gate, max_batch=1, max_queue=1, max_delay=0) as batcher:
        futures = [batcher.submit(0)]
        assert gate.entered.wait(LONG)
        futures.append(batcher.submit(1))
        with pytest.raises(BatcherFull):
            batcher.submit(2, timeout=0.01)
        gate.open.set()
        assert [future.result(LONG) for future in futures] == [0, 2]


def test_a_call_that_timed_out_is_not_run():
    gate = Gate()
    with Batcher(gate, max_batch=1, max_delay=0) as batcher:
        batcher.submit(0)
        assert gate.entered.wait(LONG)
        with pytest.raises(TimeoutError, match="no result within"):
            batcher(1, timeout=0.01)
        with pytest.raises(TimeoutError, match="no result within"):
            asyncio.run(batcher.acall(2, timeout=0.01))
        gate.open.set()
    assert gate.batches == [[0]]


def test_closing_runs_what_is_queued_and_refuses_what_comes_later():
    gate = Gate()
    batcher = Batcher(gate, max_batch=1, max_delay=0)
    futures = [batcher.submit(item) for item in range(5)]
    assert gate.entered.wait(LONG)
    gate.open.set()
    batcher.close()
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8]
    with pytest.raises(BatcherClosed):
        batcher.submit(6)
    batcher.close()


def test_closing_may_refuse_what_is_queued():
    gate = Gate()
    batcher = Batcher(gate, max_batch=1, max_delay=0)
    first, second = batcher.submit(1), batcher.submit(2)
    assert gate.entered.wait(LONG)
    closing = threading.Thread(target=batcher.close, kwargs={"cancel_pending": True})
    closing.start()
    with pytest.raises(BatcherClosed):
        second.result(LONG)
    gate.open.set()
    closing.join(LONG)
    assert first.result(0) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_caller_waits_for_a_worker_that_has_ended():
    gate = Gate()

    def fatal(items):
        gate(items)
        raise SystemExit

    batcher = Batcher(fatal, max_batch=1, max_delay=0)
    first, second = batcher.submit(1), batcher.submit(2)
    assert gate.entered.wait(LONG)
    gate.open.set()
    with pytest.raises(SystemExit):
        first.result(LONG)
    with pytest.raises(BatcherClosed):
        second.result(LONG)
    with pytest.raises(BatcherClosed):
        batcher.submit(3)
    batcher.close()


def test_no_call_is_lost_when_closing_meets_many_callers():
    for _ in range(20):
        batcher, ended = Batcher(doubled, max_batch=4, max_queue=4, max_delay=0), []

        def work(index, batcher=batcher, ended=ended):
            for step in range(20):
                try:
                    ended.append(batcher(step, timeout=LONG) == 2 * step)
                except BatcherClosed:
                    ended.append(True)

        closing = threading.Thread(target=lambda batcher=batcher: (time.sleep(0), batcher.close()))
        closing.start()
        in_threads(4, work)
        closing.join(LONG)
        assert len(ended) == 80 and all(ended)


def test_wrong_settings_are_refused():
    for wrong in ({"max_batch": 0}, {"max_queue": 0}, {"max_delay": -1}):
        with pytest.raises(ValueError):
            Batcher(doubled, **wrong)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_a_worker_of_its_own():
    with Batcher(doubled, max_delay=0) as batcher:
        assert batcher(1) == 2
        child = os.fork()
        if child == 0:
            os._exit(0 if batcher(2, timeout=LONG) == 4 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert batcher(3) == 6


def test_queued_calls_are_run_before_python_ends():
    program = """
import agxpatch, time
batcher = agxpatch.Batcher(lambda items: time.sleep(0.05) or [print(item) for item in items], max_batch=1)
for item in range(3):
    batcher.submit(item)
"""
    search = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": search}, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "0\n1\n2\n" and not ran.stderr
