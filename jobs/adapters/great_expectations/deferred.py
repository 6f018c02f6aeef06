"""Defer the import of packages that only unused rules and stores need: they take a second."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands for a package, or a module of it, until an attribute is read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            return _Deferred(f"{self.__name__}.{name}")
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred(*packages: str) -> Iterator[None]:
    """Let imports of some packages, such as ``from scipy import stats``, read them when they are used, if ever."""
    own = {name: _Deferred(name) for name in packages if name not in sys.modules}
    sys.modules.update(own)
    try:
        yield
    finally:
        for name in own:
            sys.modules.pop(name, None)
