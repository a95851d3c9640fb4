from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.core.worker.zygote_client import ZygoteClient

HEAD = """
import ctypes, os, sys, threading
from penstock.app import App

app = App(__name__)

@app.endpoint("/parent")
def parent() -> str:
    with open(f"/proc/{os.getppid()}/comm") as file:
        return file.read().strip()

@app.endpoint("/imported-in")
def imported_in() -> bool:
    return IMPORTED_IN == os.getpid()

IMPORTED_IN = os.getpid()
"""

OPENMP = """
gomp = ctypes.CDLL("libgomp.so.1")
region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)

def compute():
    gomp.GOMP_parallel(region, None, 4, 0)
    return len(os.listdir("/proc/self/task"))

@app.endpoint("/compute")
def compute_there() -> int:
    return compute()

THREADS = compute()
assert THREADS == 4, THREADS
"""

NATIVE_THREAD = """
libc = ctypes.CDLL(None)
thread = ctypes.c_ulong()
assert libc.pthread_create(ctypes.byref(thread), None, ctypes.cast(libc.pause, ctypes.c_void_p), None) == 0
"""

ENDING_THREAD = "threading.Timer(0.05, print).start()\n"

OPENBLAS = """
import numpy
PRODUCT = numpy.ones((300, 300)) @ numpy.ones((300, 300))
assert len(os.listdir("/proc/self/task")) > 1 or os.cpu_count() == 1

@app.endpoint("/multiply")
def multiply() -> float:
    return float((numpy.ones((300, 300)) @ PRODUCT)[0, 0])
"""

TORCH = """
import types
torch = types.ModuleType("torch")
torch.cuda = types.SimpleNamespace(is_initialized=lambda: {initialized}, _is_in_bad_fork=lambda: {bad})
sys.modules["torch"] = torch
"""

POOL = """
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>

static void *wait_for_work(void *_) { for (;;) pause(); }

void start(void) {
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        pthread_create(&thread, 0, wait_for_work, 0);
        pthread_setname_np(thread, "pool");
    }
}
"""

LIBCUDA = "int cuDeviceGetCount(int *count) { *count = 1; return %d; }\n"


def zygote_of(folder: Path, source: str, start_method: str = "auto") -> ZygoteClient:
    file = folder / "app_under_test.py"
    file.write_text(HEAD + source)
    return ZygoteClient(str(file), start_method=start_method)


def built(folder: Path, name: str, source: str) -> Path:
    """Return a shared library with this source in C."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    (folder / "library.c").write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-pthread", "-o", folder / name, folder / "library.c"], check=True)
    return folder / name


def libgomp() -> None:
    import ctypes

    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("there is no libgomp.so.1")


# ---- thread pools that can be released


def test_openmp_pool_that_was_used_at_import(tmp_path):
    """A parallel region that ran at import does not hang the next one in a worker, which is forked all the same."""
    libgomp()
    with zygote_of(tmp_path, OPENMP) as zygote:
        assert zygote.loaded.hazards == []
        assert zygote.spawn().ask("compute") == 4


def test_pool_that_its_library_stops_before_a_fork(tmp_path):
    """OpenBLAS, which numpy brings, has threads after its import but stops them before a fork: no reason not to."""
    pytest.importorskip("numpy")
    with zygote_of(tmp_path, OPENBLAS) as zygote:
        assert zygote.loaded.hazards == []
        assert zygote.spawn().ask("multiply") == 90_000.0


def test_thread_that_ends_by_itself(tmp_path):
    """A thread that ends soon after the import is waited for, and does no harm."""
    with zygote_of(tmp_path, ENDING_THREAD) as zygote:
        assert zygote.loaded.hazards == []


# ---- state that a fork breaks


def test_native_thread(tmp_path):
    """A thread that Python does not know is found, and then each worker imports the app itself."""
    with zygote_of(tmp_path, NATIVE_THREAD) as zygote:
        assert zygote.loaded.hazards == ["1 native thread"]
        assert zygote.spawn().ask("imported-in") is True


def test_native_thread_of_a_library(tmp_path):
    """The log names the thread, if it has a name, and the library whose code it runs."""
    library = built(tmp_path, "libpool.so", POOL)
    with zygote_of(tmp_path, f"ctypes.CDLL({str(library)!r}).start()\n") as zygote:
        assert zygote.loaded.hazards == ["2 native threads 'pool' of libpool.so"]


@pytest.mark.parametrize(("initialized", "bad"), [(True, False), (False, True), (True, True)])
def test_torch_that_has_touched_cuda(tmp_path, initialized, bad):
    """CUDA that torch has initialized, or merely queried so that it fails in a fork, is found."""
    with zygote_of(tmp_path, TORCH.format(initialized=initialized, bad=bad)) as zygote:
        assert zygote.loaded.hazards == ["CUDA is initialized"]
        assert zygote.spawn().ask("imported-in") is True


def test_torch_that_has_not_touched_cuda(tmp_path):
    """A torch that was merely imported is forked."""
    with zygote_of(tmp_path, TORCH.format(initialized=False, bad=False)) as zygote:
        assert zygote.loaded.hazards == []
        assert zygote.spawn().ask("imported-in") is False


@pytest.mark.parametrize(("code", "hazards"), [(0, ["CUDA is initialized"]), (3, [])])
def test_cuda_of_any_library(tmp_path, code, hazards):
    """The driver itself is asked, so that CUDA is found whichever library has initialized it (3: none has)."""
    library = built(tmp_path, "libcuda.so.1", LIBCUDA % code)
    with zygote_of(tmp_path, f"DRIVER = ctypes.CDLL({str(library)!r})\n") as zygote:
        assert zygote.loaded.hazards == hazards


def test_fork_that_hangs_or_crashes(tmp_path):
    """A process whose forks do not survive is not forked."""
    with zygote_of(tmp_path, "os.register_at_fork(after_in_child=lambda: os.abort())\n") as zygote:
        assert zygote.loaded.hazards == ["a forked process hangs or crashes"]
        assert zygote.spawn().ask("imported-in") is True


# ---- the app's own choice


def test_start_method_fork(tmp_path):
    """``fork`` forks whatever was found, and what was found is still reported."""
    with zygote_of(tmp_path, NATIVE_THREAD, "fork") as zygote:
        assert zygote.loaded.hazards == ["1 native thread"]
        assert zygote.spawn().ask("imported-in") is False


def test_start_method_fresh(tmp_path):
    """``fresh`` imports the app in each worker, and not in the process that starts them."""
    with zygote_of(tmp_path, "print('imported in', os.getpid())\n", "fresh") as zygote:
        worker = zygote.spawn()
        assert worker.ask("imported-in") is True
        assert zygote.loaded.hazards == []
        assert zygote.spawn().ask("parent") == "penstock zygote"


def test_child_of_a_fresh_worker(tmp_path):
    """A process that user code forks in a fresh worker has default signal handlers, as in a forked one."""
    source = """
import multiprocessing, time

@app.endpoint("/terminate")
def terminate() -> int:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join(10)
    return child.exitcode
"""
    with zygote_of(tmp_path, source, "fresh") as zygote:
        assert zygote.spawn().ask("terminate") == -signal.SIGTERM


def test_fresh_worker_whose_import_fails(tmp_path):
    """An import that fails in a fresh worker is reported like a ``setup`` that fails."""
    from penstock.wire import SetupFailed

    with zygote_of(tmp_path, "1 / 0\n", "fresh") as zygote:
        message = zygote.spawn(ready=False).wire.expect(SetupFailed)
        assert "ZeroDivisionError" in message.traceback
