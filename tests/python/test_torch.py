"""The package on real torch, on its CPU device; skipped where there is none. `scripts/test --full` installs it."""

import threading

import agxpatch
import pytest
from agxpatch import Batcher, MPSLock

torch = pytest.importorskip("torch", reason="torch is not installed")
checkpoint = pytest.importorskip("torch.utils.checkpoint").checkpoint

LONG = 60
# As `scripts/workloads/correctness.py` has it.
TOLERANCE = 1e-3
# Autograd gives a nested backward to a thread of its own from the 60th level on.
DEEP = 80


@pytest.fixture
def lock():
    made = MPSLock(1)
    with agxpatch.serialize_torch(made):
        yield made
    assert not made.locked()


def in_time(body):
    """Runs `body` in a thread, so that a deadlock fails the test and does not stop it."""
    answers = []

    def run():
        try:
            answers.append(body())
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive(), "deadlock"
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]


class Watching(torch.nn.Module):
    """Notes in which thread it ran and whether that had a place."""

    def __init__(self, lock):
        super().__init__()
        self.lock, self.seen = lock, []

    def forward(self, x):
        self.seen.append((threading.get_ident(), self.lock.depth))
        return x * 2


class Nested(torch.autograd.Function):
    """Its backward calls a module and runs a backward of its own, `levels` deep."""

    @staticmethod
    def forward(ctx, x, module, levels):
        ctx.module, ctx.levels = module, levels
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if ctx.levels:
            with torch.enable_grad():
                leaf = gradient.detach().requires_grad_()
                Nested.apply(ctx.module(leaf), ctx.module, ctx.levels - 1).sum().backward()
        return gradient, None, None


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))


def test_what_the_documentation_names_runs_with_a_place(lock, tmp_path, monkeypatch):
    taken = []
    acquire = lock.acquire
    monkeypatch.setattr(lock, "acquire", lambda *given, **named: taken.append(1) or acquire(*given, **named))
    x, trained = torch.ones(2, 16, requires_grad=True), model()
    optimizer = torch.optim.AdamW(trained.parameters())
    torch.save(trained.state_dict(), tmp_path / "weights")
    calls = {
        "a module": lambda: trained(x),
        "Module.to": lambda: trained.to("cpu"),
        "Module.load_state_dict": lambda: trained.load_state_dict(trained.state_dict()),
        "Tensor.to": lambda: x.to("cpu"),
        "Tensor.cpu": lambda: x.cpu(),
        "Tensor.item": lambda: torch.ones(1).item(),
        "Tensor.tolist": lambda: x.tolist(),
        "backward": lambda: (x * 2).sum().backward(),
        "autograd.grad": lambda: torch.autograd.grad((x * 2).sum(), x),
        "step": optimizer.step,
        "load": lambda: torch.load(tmp_path / "weights"),
        "arange": lambda: torch.arange(3),
        "linspace": lambda: torch.linspace(0, 1, 3),
        "eye": lambda: torch.eye(3),
        "renorm": lambda: torch.renorm(x, 2, 0, 1),
        "Tensor.renorm": lambda: x.renorm(2, 0, 1),
    }
    for name, call in calls.items():
        taken.clear()
        call()
        assert taken, name


def test_an_optimizer_keeps_its_scheduler_and_its_hooks_after_restore_too():
    lock, depths, stepped, trained = MPSLock(1), [], [], model()
    with agxpatch.serialize_torch(lock):

        class Own(torch.optim.SGD):
            def step(self, closure=None):
                depths.append(lock.depth)
                return super().step(closure)

        optimizer = Own(trained.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        optimizer.register_step_post_hook(lambda *_: stepped.append(1))
        trained(torch.ones(1, 16)).sum().backward()
        optimizer.step()
        scheduler.step()
    optimizer.step()
    assert scheduler.get_last_lr() == [0.5]
    with agxpatch.serialize_torch(lock):
        optimizer.step()
    assert depths == [1, 0, 1] and stepped == [1, 1, 1]


def test_training_is_the_same_with_the_lock_as_without():
    def trained():
        net = model()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(5):
            optimizer.zero_grad()
            net(torch.full((4, 16), float(step))).sum().backward()
            optimizer.step()
        return net.state_dict()

    plain = trained()
    with agxpatch.serialize_torch(MPSLock(1)):
        serialized = trained()
    assert all(torch.equal(plain[name], serialized[name]) for name in plain)


def test_restore_puts_torchs_own_functions_back():
    classes = [torch.nn.Module, torch.Tensor, torch.optim.Optimizer, torch.optim.SGD, torch.optim.AdamW]
    places = [*classes, torch, torch.autograd]

    def all_of_it():
        return [dict(vars(place)) for place in places]

    before = all_of_it()
    with agxpatch.serialize_torch(MPSLock(1)) as serialized:
        assert len(serialized.covered) > 20
    after = all_of_it()
    for place, old, new in zip(places, before, after):
        assert {name for name in old if new.get(name) is not old[name]} == set(), place
        assert set(new) <= set(old), place


@pytest.mark.filterwarnings("ignore")
def test_models_are_still_traced_scripted_exported_and_compiled(lock):
    class Positions(torch.nn.Module):
        def forward(self, x):
            return x + torch.arange(x.size(1)) + torch.linspace(0, 1, x.size(1))

    module, x = Positions(), torch.zeros(2, 4)
    ways = {
        "script": torch.jit.script,
        "trace": lambda module: torch.jit.trace(module, x),
        "export": lambda module: torch.export.export(module, (x,)).module(),
        "compile": lambda module: torch.compile(module, backend="eager"),
    }
    for name, way in ways.items():
        assert torch.equal(way(module)(x), module(x)), name


def test_a_backward_that_autograd_gives_to_another_thread_does_not_deadlock(lock):
    module = Watching(lock)
    x = torch.ones(2, requires_grad=True)
    in_time(lambda: Nested.apply(x, module, DEEP).sum().backward())
    threads = {thread for thread, _ in module.seen}
    assert len(module.seen) == DEEP and len(threads) > 1
    assert all(depth > 0 for _, depth in module.seen)


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_gives_the_same_gradients(lock, reentrant):
    def gradients(checkpointed):
        net = model()
        x = torch.ones(3, 16, requires_grad=True)
        for layer in net:
            x = checkpoint(layer, x, use_reentrant=reentrant) if checkpointed else layer(x)
        x.sum().backward()
        return [parameter.grad for parameter in net.parameters()]

    plain, checkpointed = gradients(False), in_time(lambda: gradients(True))
    assert all(torch.equal(a, b) for a, b in zip(plain, checkpointed))


def test_eight_threads_train_models_of_their_own(lock):
    models = [model() for _ in range(8)]

    def train(net):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            checkpoint(net, torch.ones(4, 16), use_reentrant=False).sum().backward()
            optimizer.step()

    threads = [threading.Thread(target=train, args=(net,), daemon=True) for net in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive(), "deadlock"
    assert all(torch.equal(net[0].weight, models[0][0].weight) for net in models)


def test_a_batcher_joins_and_splits_tensors_as_direct_calls_have_them():
    net = model().eval()
    inputs = [torch.randn(16) for _ in range(200)]
    sizes = []

    def batch(items):
        sizes.append(len(items))
        with torch.no_grad():
            return net(torch.stack(items)).unbind()

    with torch.no_grad():
        direct = [net(each) for each in inputs]
    answers = [None] * len(inputs)
    with Batcher(batch, max_batch=64, max_delay=0.01) as batcher:

        def work(first):
            for index in range(first, len(inputs), 8):
                answers[index] = batcher(inputs[index], timeout=LONG)

        threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    worst = max(float((a - b).abs().max()) for a, b in zip(answers, direct))
    assert worst <= TOLERANCE
    assert max(sizes) > 1


def test_a_batcher_takes_a_tensor_whose_rows_are_the_results():
    with Batcher(lambda items: torch.stack(items) * 2, max_batch=4, max_delay=LONG) as batcher:
        futures = [batcher.submit(torch.full((2,), float(index))) for index in range(4)]
        assert [future.result(LONG).tolist() for future in futures] == [[2.0 * i, 2.0 * i] for i in range(4)]
