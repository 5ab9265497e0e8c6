"""The Python lock: its own logic without torch, and on torch's CPU device where torch is installed."""

import copy
import importlib.util
import os
import pickle
import sys
import threading
import unittest

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts")
sys.path.insert(0, SCRIPTS)

from agx_mps_lock import MPSLock, guard_module, unguard_module  # noqa: E402

HAS_TORCH = importlib.util.find_spec("torch") is not None


class Inside:
    """Counts who is inside at the same time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = self.total = 0

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self.lock:
            self.now -= 1


def in_threads(count, body):
    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Plain:
    """What a module is to the lock: an object with a `forward` of its class."""

    def forward(self, x):
        if x is None:
            raise ValueError("no input")
        return x + 1

    def __call__(self, x):
        return self.forward(x)


class Weighted(Plain):
    def __init__(self, weight):
        self.weight = [weight]

    def forward(self, x):
        return self.weight[0] * x


class Lock(unittest.TestCase):
    def test_no_more_threads_are_inside_than_there_are_places(self):
        for places in (1, 2, 3):
            lock, inside = MPSLock(places), Inside()

            def work(lock=lock, inside=inside):
                for _ in range(200):
                    with lock, inside:
                        pass

            in_threads(8, work)
            self.assertEqual(inside.total, 1600)
            self.assertLessEqual(inside.most, places)

    def test_as_many_threads_as_places_are_inside_together(self):
        lock, together = MPSLock(2), threading.Barrier(2, timeout=30)

        def work():
            with lock:
                together.wait()

        in_threads(2, work)
        self.assertFalse(together.broken)

    def test_a_thread_may_enter_again(self):
        lock = MPSLock(1)
        with lock, lock:
            self.assertEqual(lock.depth, 2)
        self.assertEqual(lock.depth, 0)
        self.assertTrue(lock.acquire(timeout=0))
        lock.release()

    def test_a_place_comes_back_when_the_body_raises(self):
        lock = MPSLock(1)
        with self.assertRaises(KeyError), lock:
            raise KeyError
        self.assertEqual(lock.depth, 0)

    def test_waiting_may_be_given_up(self):
        lock, answers = MPSLock(1), []
        with lock:
            in_threads(1, lambda: answers.append(lock.acquire(timeout=0)))
        self.assertEqual(answers, [False])

    def test_a_thread_without_a_place_cannot_give_one_back(self):
        lock = MPSLock(1)
        with self.assertRaises(RuntimeError):
            lock.release()
        with lock:
            errors = []

            def work():
                try:
                    lock.release()
                except RuntimeError as error:
                    errors.append(error)

            in_threads(1, work)
            self.assertEqual(len(errors), 1)

    def test_the_device_is_waited_for_once_before_the_place_is_given_back(self):
        depths = []
        lock = MPSLock(1, synchronize=lambda: depths.append(lock.depth))
        with lock, lock:
            pass
        self.assertEqual(depths, [1])

    def test_a_place_comes_back_when_waiting_for_the_device_fails(self):
        def fail():
            raise OSError("device lost")

        lock = MPSLock(1, synchronize=fail)
        with self.assertRaises(OSError), lock:
            pass
        self.assertEqual(lock.depth, 0)
        self.assertTrue(lock.acquire(timeout=0))

    def test_there_is_at_least_one_place(self):
        with self.assertRaises(ValueError):
            MPSLock(0)

    def test_importing_it_does_not_import_torch(self):
        import subprocess

        code = "import sys, agx_mps_lock; sys.exit('torch' in sys.modules)"
        environment = dict(os.environ, PYTHONPATH=SCRIPTS)
        self.assertEqual(subprocess.run([sys.executable, "-c", code], env=environment).returncode, 0)


class Module(unittest.TestCase):
    def test_a_guarded_module_runs_with_a_place(self):
        lock, depths = MPSLock(1), []

        class Watching(Plain):
            def forward(self, x):
                depths.append(lock.depth)
                return super().forward(x)

        module = guard_module(Watching(), lock)
        self.assertEqual(module(1), 2)
        self.assertEqual(depths, [1])
        self.assertIsInstance(module, Watching)
        self.assertEqual(type(module).__name__, "Watching")

    def test_a_copy_runs_its_own_forward_under_the_same_lock(self):
        lock = MPSLock(1)
        module = guard_module(Weighted(2), lock)
        copied = copy.deepcopy(module)
        copied.weight[0] = 10
        self.assertEqual((module(1), copied(1)), (2, 10))
        copied.inner = Weighted(3)
        self.assertEqual(copy.deepcopy(copied).inner(2), 6)
        with lock:
            waits = []
            in_threads(1, lambda: waits.append(lock.acquire(timeout=0)))
        self.assertEqual(waits, [False])
        with self.assertRaises(ValueError):
            guard_module(copied, lock)

    def test_a_pickled_module_comes_back_unguarded(self):
        module = guard_module(Weighted(2), MPSLock(1))
        back = pickle.loads(pickle.dumps(module))
        self.assertIs(type(back), Weighted)
        self.assertEqual(back(4), 8)
        self.assertEqual(module(4), 8)

    def test_a_forward_that_only_the_object_has_is_not_passed_over(self):
        module = Plain()
        module.forward = lambda x: x
        with self.assertRaises(ValueError):
            guard_module(module, MPSLock(1))

    def test_a_forward_that_raises_gives_its_place_back(self):
        lock = MPSLock(1)
        module = guard_module(Plain(), lock)
        with self.assertRaises(ValueError):
            module(None)
        self.assertEqual(lock.depth, 0)

    def test_guarding_can_be_undone_and_is_not_done_twice(self):
        lock, module = MPSLock(1), Plain()
        guard_module(module, lock)
        with self.assertRaises(ValueError):
            guard_module(module, lock)
        unguard_module(module)
        self.assertIs(type(module), Plain)
        with self.assertRaises(ValueError):
            unguard_module(module)

    def test_what_is_not_a_module_is_refused(self):
        with self.assertRaises(TypeError):
            guard_module(object(), MPSLock(1))


@unittest.skipUnless(HAS_TORCH, "torch is not installed: the lock was not tried on a torch module")
class Torch(unittest.TestCase):
    def test_a_torch_module_gives_the_same_from_eight_threads(self):
        import torch

        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4)).eval()
        x = torch.randn(8, 16)
        with torch.no_grad():
            expected = model(x)
        lock, inside = MPSLock.for_mps(2), Inside()
        guard_module(model, lock)
        plain, differences = model.forward, []

        def work():
            for _ in range(20):
                with torch.no_grad(), lock, inside:
                    differences.append(float((plain(x) - expected).abs().max()))

        in_threads(8, work)
        self.assertLessEqual(inside.most, 2)
        self.assertEqual(len(differences), 160)
        self.assertEqual(max(differences), 0.0)

    def test_an_averaged_copy_has_its_own_weights(self):
        import torch

        model = guard_module(torch.nn.Linear(2, 1, bias=False), MPSLock(1))
        average = torch.optim.swa_utils.AveragedModel(model)
        with torch.no_grad():
            model.weight.fill_(1.0)
            average.module.weight.fill_(3.0)
            self.assertEqual(float(average(torch.ones(1, 2))), 6.0)
            self.assertEqual(float(model(torch.ones(1, 2))), 2.0)
        again = torch.nn.Linear(2, 1, bias=False)
        again.load_state_dict(model.state_dict())

    def test_guarded_children_of_a_guarded_module_do_not_wait_for_themselves(self):
        import torch

        lock = MPSLock(1)
        child = guard_module(torch.nn.Linear(4, 4), lock)
        model = guard_module(torch.nn.Sequential(child, child), lock)
        self.assertEqual(model(torch.ones(1, 4)).shape, (1, 4))
        self.assertEqual(lock.depth, 0)


if __name__ == "__main__":
    unittest.main()
