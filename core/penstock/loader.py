from __future__ import annotations

import sys
from types import ModuleType

from penstock.app import App
from penstock.errors import EngineError
from penstock.worker.loader import loading, reached


def stop_if_loading(app: App) -> None:
    """Where an engine would be opened: if this is only the import of the program for a worker, it ends here."""
    if loading.active:
        reached(app)


def target_of(app: App) -> str:
    """Where another process finds this app.

    Raises
    ------
    EngineError
        If the app is not reachable: made inside a function, or typed in at a prompt.
    """
    module = sys.modules.get(app.import_name)
    if module is None:
        raise EngineError(f"there is no module {app.import_name!r}: write `app = App(__name__)`")
    attribute = next((name for name, value in vars(module).items() if value is app), "")
    if module.__name__ == "__main__":
        return _main_target(module, attribute)
    if not attribute:
        raise EngineError(
            f"the app is not at the top level of {app.import_name!r}: its workers import that module and look for it "
            "there; move `app = App(__name__)` and its endpoints out of the function"
        )
    return f"{app.import_name}:{attribute}"


def _main_target(module: ModuleType, attribute: str) -> str:
    if module.__spec__ is not None:  # python -m package.module
        return f"{module.__spec__.name}:{attribute}" if attribute else module.__spec__.name
    path = getattr(module, "__file__", None)
    if path is None:
        raise EngineError("the app was typed in at a prompt, where its workers cannot find it: put it into a file")
    return f"script:{path}#{attribute}" if attribute else f"script:{path}"
