"""The loader: from a target to the ``App`` that it names, and from an ``App`` to its target.

A target is ``module``, ``module:attribute``, ``path/to/file.py``, ``path/to/file.py:attribute``, or,
for a program that embeds an engine, ``script:/path/to/file`` with an optional ``#attribute``, or ``pickle:/path``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from penstock.app import App, shipping
from penstock.app.manifest import SCRIPT_MODULE, Manifest
from penstock.errors import DeclarationError, EngineError
from penstock.suggestions import did_you_mean
from penstock.wire import Load

_STANDARD_FOLDER = Path(os.__file__).parent
_STANDARD_ZIP = re.compile(r"python\d+\.zip")
_SCRIPT_PREFIX = "script:"


class AppReached(BaseException):
    """The exception that stops the import of a program where it would open its engine."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self.app = app


class LoadingState:
    """The state of the current load, if there is one.

    Attributes
    ----------
    active:
        True while the loader runs user code. Code that would open an engine must call ``reached`` instead.
    attribute:
        The name of the wanted app in its module; empty if it is the only one there.
    app:
        The app that was found when ``reached`` was called, or None.
    """

    def __init__(self) -> None:
        self.active = False
        self.attribute = ""
        self.app: App | None = None

    def begin(self, attribute: str) -> None:
        """Start a load, and forget what an earlier one found."""
        self.active = True
        self.attribute = attribute
        self.app = None


loading = LoadingState()


def reached(app: App) -> NoReturn:
    """Stop the import here: the program is about to open an engine for this app, so the app is known.

    A program that opens several engines, for different apps, is stopped at the first of them in every worker.

    Raises
    ------
    AppReached
        Always. If the program catches it, the loader knows the app anyway.
    """
    if loading.app is None:
        wanted = getattr(sys.modules.get(app.import_name), loading.attribute, app)
        loading.app = wanted if isinstance(wanted, App) else app
    raise AppReached(app)


def stop_if_loading(app: App) -> None:
    """Stop here if this is the import of a program for a worker. Called before an engine is opened."""
    if loading.active:
        reached(app)


def load(message: Load) -> App:
    """Load the app in a process started for it, with the module path and arguments of the engine's process.

    Raises
    ------
    DisagreementError
        If the app differs from the engine's.
    """
    if message.sys_path:
        sys.path[:] = standard_library_first(message.sys_path)
    sys.argv[:] = message.argv or sys.argv[:1]
    app = _load_target(message.target)
    if message.digest:
        Manifest.of(app).require(message.digest)
    return app


def load_app(target: str) -> App:
    """Import the target's module or file, and return its app.

    Raises
    ------
    DeclarationError
        If there is no such module, file or attribute, if it has no app or several, or if the app has no endpoints.
        Exceptions of the user's own code during the import are passed through unchanged.
    """
    app = _load_target(target)
    if not app.endpoints and not target.startswith(_SCRIPT_PREFIX):  # a script declares them when it likes
        raise DeclarationError(
            f'{target}: the app has no endpoints; write @app.endpoint("/path") above a function or class, at the top '
            "level of the module that is loaded or of one that it imports"
        )
    return app


def _load_target(target: str) -> App:
    if target.startswith(shipping.PREFIX):
        return shipping.unpack(target)
    if target.startswith(_SCRIPT_PREFIX):
        path, _, attribute = target.removeprefix(_SCRIPT_PREFIX).partition("#")
        return _load(lambda: _run_script(Path(path)), attribute, target)
    place, _, attribute = target.partition(":")
    if not place:
        raise DeclarationError(f"{target!r} does not name an app: write module:app or path/to/file.py:app")
    make_importable(str(Path.cwd()))
    if place.endswith(".py") or os.sep in place:
        return _load(lambda: _import_file(Path(place)), attribute, target)
    return _load(lambda: _import_module(place), attribute, target)


def _load(run: Callable[[], ModuleType], attribute: str, target: str) -> App:
    loading.begin(attribute)
    try:
        module = run()
    except BaseException:
        # However the program reacted to being stopped, the app is known.
        if loading.app is None:
            raise
        return loading.app
    finally:
        loading.active = False
    return loading.app or _find(module, attribute, target)


# ---- running the user's code


def make_importable(folder: str) -> None:
    """Put a folder on the module path, ahead of installed packages but after the standard library.

    A ``random.py`` or ``queue.py`` in it would otherwise replace the standard library's module for every library that
    imports that module from now on, Penstock's own included.
    """
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    sys.path[:] = standard_library_first(sys.path)


def standard_library_first(module_path: list[str]) -> list[str]:
    """Return a module path with the folders of the standard library moved to its front, in the same order."""
    return sorted(module_path, key=lambda folder: not _is_standard(folder))


def _is_standard(folder: str) -> bool:
    path = Path(folder)
    return path == _STANDARD_FOLDER or path.name == "lib-dynload" or bool(_STANDARD_ZIP.fullmatch(path.name))


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The missing module may be one that the user's module imports; that error is clear enough.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        here = [path.stem for path in Path.cwd().glob("*.py")]
        advice = _with_colon(name) or did_you_mean(error.name, here)
        raise DeclarationError(f"there is no module {error.name!r} in {Path.cwd()} or on sys.path{advice}") from None


def _with_colon(name: str) -> str:
    """Return the advice for ``module.app`` in place of ``module:app``, or ""."""
    parent, _, attribute = name.rpartition(".")
    return f"; did you mean '{parent}:{attribute}'?" if hasattr(sys.modules.get(parent), attribute) else ""


def _import_file(path: Path) -> ModuleType:
    path = _existing(path)
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or path.stem in sys.stdlib_module_names:
        raise DeclarationError(
            f"{path} would be imported as {path.stem!r}, but that is another module; rename the file"
        )
    make_importable(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[path.stem]
        if isinstance(error, ImportError) and "no known parent package" in str(error):
            raise DeclarationError(f"{path} has a relative import, so it must be {_as_module(path)}") from error
        raise
    return module


def _as_module(path: Path) -> str:
    """Return how to load a file as part of its package."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    if folder == path.parent:
        return "loaded as part of a package: write package.module in place of the file, in the folder of the package"
    return f"loaded as {'.'.join(path.relative_to(folder).with_suffix('').parts)}, in the folder {folder}"


def _run_script(path: Path) -> ModuleType:
    """Run a program under a name other than ``__main__``, so that code guarded by that name does not run."""
    path = _existing(path)
    make_importable(str(path.parent))
    module = ModuleType(SCRIPT_MODULE)
    module.__file__ = str(path)
    sys.modules[SCRIPT_MODULE] = module
    exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102  running it is the point
    return module


def _existing(path: Path) -> Path:
    path = path.resolve()
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise DeclarationError(f"there is no file {path}{did_you_mean(path.name, beside)}")
    return path


# ---- finding the app in it


def _find(module: ModuleType, attribute: str, target: str) -> App:
    found = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if attribute:
        return _named(module, attribute, found, target)
    apps = {id(app): name for name, app in reversed(found.items())}
    if len(apps) == 1:
        return next(iter(found.values()))
    where = getattr(module, "__file__", None) or module.__name__
    if not apps:
        raise DeclarationError(
            f"{where} has no App at its top level: write `app = App(__name__)` there, outside functions and main guards"
        )
    names = sorted(apps.values())
    choose = "#" if target.startswith(_SCRIPT_PREFIX) else ":"
    raise DeclarationError(
        f"{where} has several apps ({', '.join(names)}): name one, for instance {target}{choose}{names[0]}"
    )


def _named(module: ModuleType, attribute: str, found: dict[str, App], target: str) -> App:
    value: Any = module
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            near = did_you_mean(attribute, found)
            raise DeclarationError(f"{target!r}: {module.__name__} has no attribute {attribute!r}{near}") from None
    if not isinstance(value, App):
        near = did_you_mean(attribute, found)
        raise DeclarationError(f"{target!r}: {attribute!r} is a {type(value).__name__}, not a penstock.App{near}")
    return value


# ---- from the app to its target


def target_of(app: App) -> str:
    """Return the target under which another process finds this app.

    Raises
    ------
    EngineError
        If the app is not reachable, because it was created inside a function or typed at a prompt.
    """
    module = sys.modules.get(app.import_name)
    if module is None:
        raise EngineError(f"there is no module {app.import_name!r}: write `app = App(__name__)`")
    attribute = next((name for name, value in vars(module).items() if value is app), "")
    if module.__name__ == "__main__":
        return _main_target(module, attribute)
    if not attribute:
        raise EngineError(
            f"the app is not at the top level of {app.import_name!r}: its workers import that module and look for the "
            'app there; move `app = App(__name__)` and its endpoints out of the function, or pass ship="pickle"'
        )
    return f"{app.import_name}:{attribute}"


def _main_target(module: ModuleType, attribute: str) -> str:
    if module.__spec__ is not None:  # python -m package.module
        return f"{module.__spec__.name}:{attribute}" if attribute else module.__spec__.name
    path = getattr(module, "__file__", None)
    if path is None:
        raise EngineError(
            "the app was typed at a prompt, where its workers cannot find it: put it in a file, or pass "
            'ship="pickle" where the engine is opened'
        )
    return f"script:{path}#{attribute}" if attribute else f"script:{path}"
