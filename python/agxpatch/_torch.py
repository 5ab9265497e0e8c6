"""Takes a place of a lock around every PyTorch call that commonly reaches the GPU.

`serialize_torch` replaces functions of torch by ones that hold a place while they run; `restore` puts them back. It
covers calls of modules, copies to and from the device (`Tensor.to`, `cpu`, `item`, `tolist`), `backward`, optimizer
steps, loading of checkpoints, and the factory functions that fetch an encoder outside of the stream's queue
(`arange`, `linspace`, `eye`, `renorm`).

It cannot reach other operators called directly on tensors (`a @ b`, `torch.matmul`), code compiled by `torch.compile`
that no module call surrounds, C++ extensions, or other libraries in the process. Use `agxpatch run --guard serialize`
for those.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from ._lock import MPSLock
from ._lock import lock as process_lock

__all__ = ["Serialized", "restore", "serialize_torch"]

# Where the functions are: the dotted path of the object that has them, and their names. What a version of torch lacks
# is left out.
_PLAIN: Tuple[Tuple[str, Tuple[str, ...]], ...] = (
    ("nn.Module", ("__call__", "load_state_dict", "to")),
    ("Tensor", ("to", "cpu", "item", "tolist", "renorm", "renorm_")),
    ("", ("load", "arange", "linspace", "eye", "renorm")),
    ("mps", ("synchronize", "empty_cache")),
)
_BACKWARD: Tuple[Tuple[str, Tuple[str, ...]], ...] = (
    ("Tensor", ("backward",)),
    ("autograd", ("backward", "grad")),
)
_OTHER_LOADERS: Tuple[Tuple[str, Tuple[str, ...]], ...] = (("safetensors.torch", ("load_file", "load_model", "load")),)
_MISSING = object()
# TorchScript has these by their identity, so they must live on.
_known_to_scripts: List[Callable[..., Any]] = []
_active: Optional[Serialized] = None


def _never() -> bool:
    return False


# Whether `torch.compile` or `torch.export` reads the code that runs: no lock can be part of their graphs, and the
# module's call around a graph has the place already.
_is_compiling: Callable[[], bool] = _never


class Serialized:
    """What `serialize_torch` replaced. `restore()`, or leaving it as a context manager, puts it back."""

    def __init__(self, lock: MPSLock) -> None:
        self.lock = lock
        self.covered: List[str] = []
        self._replaced: List[Tuple[Any, str, Any, Any]] = []

    def restore(self) -> None:
        """Puts torch's own functions back. Calls that are running finish with their place.

        Where something else has wrapped one of our functions, as torch does with the steps of optimizers, that stays,
        and ours inside it takes a place only while a `serialize_torch` is active.
        """
        global _active
        if _active is self:
            _active = None
        while self._replaced:
            owner, name, original, ours = self._replaced.pop()
            if vars(owner).get(name) is not ours:
                continue
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        self.covered.clear()

    def __enter__(self) -> Serialized:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def _replace(self, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        original = getattr(owner, name, None)
        if not callable(original):
            return
        # What wraps one of our functions has copied its mark.
        if not getattr(original, "_agx_serialized", False):
            wrapped = wrap(original)
            wrapped._agx_serialized = True  # type: ignore[attr-defined]
            self._set(owner, name, wrapped)
        self.covered.append(f"{getattr(owner, '__qualname__', getattr(owner, '__name__', ''))}.{name}")

    def _set(self, owner: Any, name: str, ours: Any) -> None:
        # An inherited function is taken off again rather than set on the class that inherits it.
        self._replaced.append((owner, name, vars(owner).get(name, _MISSING), ours))
        setattr(owner, name, ours)


def serialize_torch(lock: Optional[MPSLock] = None) -> Serialized:
    """Has the calls named above hold a place of `lock`, by default the lock of this process.

    Returns what was replaced; `restore()` undoes it. Calling it again while it is active returns the same object.
    """
    global _active, _is_compiling
    if _active is not None:
        if lock is not None and lock is not _active.lock:
            raise ValueError("torch is serialized with another lock already: restore() it first")
        return _active
    import torch

    _is_compiling = getattr(_find(torch, "compiler"), "is_compiling", _never)
    made = Serialized(process_lock() if lock is None else lock)
    for path, names in _PLAIN:
        _replace_all(made, _find(torch, path), names, _holding)
    _tell_scripts(torch, made)
    for path, names in _BACKWARD:
        _replace_all(made, _find(torch, path), names, _lending(torch))
    for path, names in _OTHER_LOADERS:
        _replace_all(made, sys.modules.get(path), names, _holding)
    _serialize_optimizers(made, _find(torch, "optim.Optimizer"))
    _active = made
    return made


def restore() -> None:
    """Undoes `serialize_torch`. Does nothing if it is not active."""
    if _active is not None:
        _active.restore()


def _replace_all(
    made: Serialized, owner: Any, names: Tuple[str, ...], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    for name in names:
        if owner is not None:
            made._replace(owner, name, wrap)


def _tell_scripts(torch: Any, made: Serialized) -> None:
    """Lets `torch.jit.script` take our functions for the operators they wrap; it could not read their source."""
    table = _find(torch, "jit._builtins")
    find, register = getattr(table, "_find_builtin", None), getattr(table, "_register_builtin", None)
    if find is None or register is None:
        return
    for _, _, original, ours in made._replaced:
        operator = find(original)
        if operator is not None:
            register(ours, operator)
            _known_to_scripts.append(ours)


def _find(root: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        root = getattr(root, name, None)
    return root


def _holding(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def serialized(*arguments: Any, **named: Any) -> Any:
        active = _active
        if active is None or _is_compiling():
            return original(*arguments, **named)
        with active.lock:
            return original(*arguments, **named)

    return serialized


def _lending(torch: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As `_holding`, and autograd's own threads enter while the caller waits for them.

    They run hooks, custom functions and the forward passes that activation checkpointing repeats, and those call
    modules. The caller cannot leave `backward` before they are done.
    """
    graph_task: Callable[[], int] = getattr(getattr(torch, "_C", None), "_current_graph_task_id", lambda: -1)

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def serialized(*arguments: Any, **named: Any) -> Any:
            active = _active
            if active is None or _is_compiling():
                return original(*arguments, **named)
            with active.lock.lent_to(lambda: graph_task() != -1):
                return original(*arguments, **named)

        return serialized

    return wrap


def _serialize_optimizers(made: Serialized, optimizer: Any) -> None:
    """Each optimizer class has a `step` of its own; a class made later gets its wrapper when it is made."""
    if optimizer is None:
        return
    for each in [optimizer, *_subclasses(optimizer)]:
        if "step" in vars(each):
            made._replace(each, "step", _holding)
    inherited = optimizer.__init_subclass__

    def init_subclass(cls: Any, /, **named: Any) -> None:
        inherited(**named)
        if _active is made and "step" in vars(cls):
            made._replace(cls, "step", _holding)

    made._set(optimizer, "__init_subclass__", classmethod(init_subclass))


def _subclasses(cls: type) -> List[type]:
    found: Dict[type, None] = {}
    child: type
    for child in cls.__subclasses__():
        found[child] = None
        found.update(dict.fromkeys(_subclasses(child)))
    return list(found)
