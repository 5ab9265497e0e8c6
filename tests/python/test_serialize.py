"""serialize_torch, on a stand-in for torch whose autograd calls modules from a thread of its own."""

import sys
import threading
import types

import agxpatch
import pytest
from agxpatch import MPSLock

LONG = 30


class Engine:
    """Runs backward's work in a thread of its own while the caller waits, as torch's engine does for a device."""

    def __init__(self):
        self.task = threading.local()

    def current(self):
        return getattr(self.task, "id", -1)

    def run(self, work):
        failed = []

        def body():
            self.task.id = 7
            try:
                work()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join(LONG)
        assert not thread.is_alive(), "deadlock in backward"
        if failed:
            raise failed[0]


def stand_in(watch):
    torch, engine = types.ModuleType("torch"), Engine()

    class Module:
        def __call__(self, *inputs):
            watch(type(self).__name__)
            return self.forward(*inputs)

        def forward(self, *inputs):
            return inputs[0]

    class Checkpointed(Module):
        """Activation checkpointing: backward repeats the forward pass."""

        def backward_work(self):
            self.inner()

        inner = Module()

    class Tensor:
        def __init__(self, work=None):
            self.work = work

        def item(self):
            watch("item")
            return 1.0

        def to(self, *_):
            watch("to")
            return self

        def backward(self):
            watch("backward")
            engine.run(self.work)

    class Optimizer:
        pass

    class SGD(Optimizer):
        def step(self):
            watch("step")

    torch.nn = types.SimpleNamespace(Module=Module)
    torch.Tensor, torch.Checkpointed = Tensor, Checkpointed
    torch.optim = types.SimpleNamespace(Optimizer=Optimizer, SGD=SGD)
    torch._C = types.SimpleNamespace(_current_graph_task_id=engine.current)
    torch.arange = lambda *_: watch("arange")
    torch.load = lambda *_: watch("load")
    return torch


@pytest.fixture
def watched(monkeypatch):
    lock, seen = MPSLock(1), []
    torch = stand_in(lambda what: seen.append((what, lock.depth, lock.locked())))
    monkeypatch.setitem(sys.modules, "torch", torch)
    serialized = agxpatch.serialize_torch(lock)
    yield torch, lock, seen
    serialized.restore()


def test_what_reaches_the_gpu_runs_with_a_place(watched):
    torch, lock, seen = watched
    torch.nn.Module()(1)
    torch.Tensor().to("mps").item()
    torch.arange(3)
    torch.load("file")
    torch.optim.SGD().step()
    assert seen == [(what, 1, True) for what in ("Module", "to", "item", "arange", "load", "step")]
    assert not lock.locked()


def test_an_optimizer_class_that_is_made_later_is_covered(watched):
    torch, _, seen = watched

    class Later(torch.optim.Optimizer):
        def step(self):
            seen.append(("later", agxpatch.serialize_torch().lock.depth, True))

    Later().step()
    assert seen == [("later", 1, True)]


def test_backward_lends_its_place_to_the_threads_that_work_for_it(watched):
    torch, lock, seen = watched
    torch.Tensor(work=torch.nn.Module()).work = None
    torch.Tensor(lambda: torch.nn.Module()(1)).backward()
    assert [what for what, _, _ in seen] == ["backward", "Module"]
    assert not lock.locked()


def test_backward_through_a_checkpoint_repeats_the_forward_pass_without_deadlock(watched):
    torch, lock, seen = watched
    module = torch.Checkpointed()

    def work():
        module(1)
        torch.Tensor(lambda: module(2)).backward()

    torch.Tensor(work).backward()
    assert [what for what, _, _ in seen] == ["backward", "Checkpointed", "backward", "Checkpointed"]
    assert not lock.locked()


def test_a_plain_lock_would_deadlock_there():
    plain, module_ran = threading.Lock(), []

    def work():
        module_ran.append(plain.acquire(timeout=0.01))

    with plain:
        Engine().run(work)
    assert module_ran == [False]


def test_threads_that_do_not_work_for_backward_wait(watched):
    torch, lock, _ = watched
    answers = []

    def work():
        stranger = threading.Thread(target=lambda: answers.append(lock.acquire(False)))
        stranger.start()
        stranger.join(LONG)

    torch.Tensor(work).backward()
    assert answers == [False]


def test_restore_puts_the_same_functions_back(monkeypatch):
    torch = stand_in(lambda what: None)
    monkeypatch.setitem(sys.modules, "torch", torch)

    def all_of_it():
        classes = (torch.nn.Module, torch.Tensor, torch.optim.Optimizer, torch.optim.SGD)
        return [dict(vars(each)) for each in (*classes, torch)]

    before = all_of_it()
    with agxpatch.serialize_torch(MPSLock(1)) as serialized:
        assert serialized.covered and all_of_it() != before
        assert agxpatch.serialize_torch() is serialized
        with pytest.raises(ValueError, match="another lock"):
            agxpatch.serialize_torch(MPSLock(1))
    assert all_of_it() == before
    agxpatch.serialize_torch(MPSLock(1))
    agxpatch.restore()
    assert all_of_it() == before
    agxpatch.restore()


def test_importing_the_package_does_not_import_torch():
    import subprocess

    code = "import sys, agxpatch; sys.exit('torch' in sys.modules)"
    search = [path for path in sys.path if path.endswith("python")]
    ran = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(search)}, check=False)
    assert ran.returncode == 0
