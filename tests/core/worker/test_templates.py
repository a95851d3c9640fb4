"""Pools that preload: models that are set up once, and the workers that are forked with them."""

from __future__ import annotations

import os
import re
import signal
import statistics
from collections import Counter
from pathlib import Path

import pytest

from penstock.wire import SetupFailed, Stop, TemplateLost, TemplateReady
from tests.core.worker.test_fork_hazards import NATIVE_THREAD, OPENMP, TORCH, libgomp
from tests.core.worker.zygote_client import WorkerClient, ZygoteClient, is_gone
from tests.serving import wait_until

MODEL_BYTES = 100_000_000

APP = f"""
import ctypes, logging, os, random, sys, threading, time
from penstock.app import App

app = App(__name__)
logging.basicConfig(level="INFO")

@app.endpoint("/model", pool="p", preload=True)
class Model:
    def setup(self, device: str = "cpu"):
        print("setting up", end="")
        logging.getLogger("users").warning("a record of setup")
        self.weights = bytearray(b"w") * {MODEL_BYTES}
        self.set_up_in = os.getpid()
        self.device = device
        time.sleep(0.2)

    def predict(self) -> list:
        return [self.set_up_in, os.getpid(), os.getppid(), self.device, self.weights.count(b"w")]

    def teardown(self):
        print("torn down")

@app.endpoint("/draw", pool="p")
def draw() -> list[float]:
    return [random.random(), numpy_random()]

def numpy_random() -> float:
    numpy = sys.modules.get("numpy")
    return numpy.random.random() if numpy else random.random()

@app.endpoint("/fork-and-return", pool="p")
def fork_and_return() -> int:
    pid = os.fork()
    if pid == 0:
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

@app.endpoint("/stuck", pool="p")
def stuck() -> None:
    print("stuck", flush=True)
    time.sleep(60)
"""

SMALL = """
import ctypes, os, sys, threading, time
from penstock.app import App

app = App(__name__)

@app.endpoint("/model", preload=True)
class Model:
    def setup(self):
{setup}

    def predict(self) -> int:
        return {predict}
"""


def zygote_of(folder: Path, source: str = APP, start_method: str = "auto") -> ZygoteClient:
    file = folder / "app_under_test.py"
    file.write_text(source)
    return ZygoteClient(str(file), start_method=start_method)


def small_zygote(folder: Path, setup: str, predict: str = "1", start_method: str = "auto") -> ZygoteClient:
    body = "".join(f"        {line}\n" for line in setup.strip().splitlines())
    return zygote_of(folder, SMALL.format(setup=body, predict=predict), start_method)


def spawn(zygote: ZygoteClient, pool: str = "p", *, ready: bool = True) -> WorkerClient:
    return zygote.spawn(pool, preload=True, ready=ready)


def first(zygote: ZygoteClient, pool: str = "p") -> tuple[WorkerClient, int]:
    """Return the worker that sets the models up, and the pid of the template that it leaves."""
    worker = spawn(zygote, pool)
    ready = zygote.template()
    assert isinstance(ready, TemplateReady)
    assert ready.pool == pool
    return worker, ready.pid


@pytest.fixture(name="shared", scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory):
    """A zygote whose pool has its template already."""
    with zygote_of(tmp_path_factory.mktemp("templates")) as zygote:
        yield zygote, *first(zygote)


# ---- what is shared


def test_setup_runs_once(shared):
    """Each worker has the model that the first one has set up, and the zygote as its parent, as any worker."""
    zygote, worker, _ = shared
    for one in (worker, spawn(zygote), spawn(zygote)):
        assert one.ask("model") == [worker.pid, one.pid, zygote.process.pid, "cpu", MODEL_BYTES]


def test_a_pool_on_asyncio_preloads(tmp_path):
    """Each worker has an event loop of its own; one that ``setup`` has started and ended does no harm."""
    setup = "import asyncio\nself.slept = asyncio.run(asyncio.sleep(0, os.getpid()))"
    source = SMALL.replace("preload=True", 'preload=True, runtime="asyncio"').replace(
        "def predict", "async def predict"
    )
    source = source.format(setup=f"        {setup}".replace("\n", "\n        "), predict="self.slept")
    with zygote_of(tmp_path, source) as zygote:
        worker, _ = first(zygote, "model")
        assert worker.ask("model") == spawn(zygote, "model").ask("model") == worker.pid


def test_a_model_is_in_memory_once(tmp_path):
    """Four workers, used, with their template and their zygote, need less than 1.3 times the memory that one needs."""
    with zygote_of(tmp_path) as zygote:
        single = zygote.spawn("p")  # as without preload
        single.ask("model")
        needed_by_one = pss_bytes(zygote.process.pid) + pss_bytes(single.pid)
        assert needed_by_one > MODEL_BYTES
        os.kill(single.pid, signal.SIGKILL)
        zygote.exited()
        worker, template = first(zygote)
        workers = [worker, *(spawn(zygote) for _ in range(3))]
        for one in workers:
            one.ask("model")
        pids = [zygote.process.pid, template, *(one.pid for one in workers)]
        assert sum(map(pss_bytes, pids)) < 1.3 * needed_by_one


def pss_bytes(pid: int) -> int:
    """Return the memory of a process, in which a page that n processes share counts as an n-th of a page."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1]) * 1024


@pytest.mark.timed
def test_a_replacement_needs_no_setup(shared):
    """A killed worker is back long before ``setup``, which sleeps for 0.2 s, could have run."""
    zygote, _, _ = shared
    seconds = []
    for _ in range(5):
        worker = spawn(zygote, ready=False)
        seconds.append(worker.ready().seconds)
        os.kill(worker.pid, signal.SIGKILL)
        assert zygote.exited().status == -signal.SIGKILL
    assert statistics.median(seconds) < 0.1


def test_output_of_setup_appears_once(tmp_path):
    """All that ``setup`` prints and logs is output of the worker that ran it, and of no other, unfinished lines too."""
    with zygote_of(tmp_path) as zygote:
        worker, _ = first(zygote)
        text = worker.output_until("a record of setup")
        assert text.count("setting up") == text.count("a record of setup") == 1
        second = spawn(zygote)
        second.run("stuck")
        assert second.output_until("stuck\n") == "stuck\n"


def test_every_worker_tears_its_model_down(tmp_path):
    """``teardown`` runs in each worker that is stopped, wherever its model was set up; never in the template."""
    with zygote_of(tmp_path) as zygote:
        worker, template = first(zygote)
        for one in (worker, spawn(zygote)):
            one.wire.send(Stop())
            one.output_until("torn down")
            assert zygote.exited().status == 0
        assert not has_ended(template)
        assert spawn(zygote).ask("model")[0] == worker.pid


def has_ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


# ---- what is each worker's own


def test_a_worker_of_a_template_may_fork(shared):
    """A process that user code forks in it does not answer for it, as in any worker."""
    worker = spawn(shared[0])
    assert worker.ask("fork-and-return") == 0
    assert worker.wire.is_silent()
    assert worker.ask("model")[1] == worker.pid


def test_a_worker_of_a_template_can_be_interrupted(shared):
    """The interrupt guard is its own, and not that of the worker that has forked the template."""
    worker = spawn(shared[0])
    attempt = worker.run("stuck")
    worker.output_until("stuck")
    worker.interrupt(attempt)
    worker.done(attempt)
    assert worker.ask("model")[1] == worker.pid


def test_no_process_has_what_belongs_to_another_worker(shared):
    """The template has no end of a worker's socket and none of its memory, so no other worker inherits one."""
    zygote, _, template = shared
    of_template = kinds_of_descriptors(template)
    assert (of_template["memory"], of_template["socket"]) == (0, 1)  # the socket to the zygote
    assert kinds_of_descriptors(spawn(zygote).pid) == kinds_of_descriptors(zygote.spawn("p").pid)


def kinds_of_descriptors(pid: int) -> Counter[str]:
    """Return how many descriptors of each kind a process has."""
    return Counter(kind_of_descriptor(str(link.readlink())) for link in Path(f"/proc/{pid}/fd").iterdir())


def kind_of_descriptor(link: str) -> str:
    return "memory" if "memfd" in link else link.partition(":")[0]


def test_workers_of_a_template_draw_different_numbers(tmp_path):
    """The global generators of ``random`` and numpy are seeded in each worker."""
    pytest.importorskip("numpy")
    with zygote_of(tmp_path, APP.replace("ctypes,", "ctypes, numpy.random,")) as zygote:
        draws = [first(zygote)[0].ask("draw"), spawn(zygote).ask("draw"), spawn(zygote).ask("draw")]
    assert len({one for one, _ in draws}) == len({other for _, other in draws}) == 3


def test_setup_may_register_what_each_fork_needs(tmp_path):
    """A hook of ``os.register_at_fork`` runs in each worker, so that it can open connections of its own."""
    setup = "self.open()\nos.register_at_fork(after_in_child=self.open)"
    source = SMALL.replace("def predict", "def open(self):\n        self.opened_in = os.getpid()\n\n    def predict")
    source = source.format(
        setup=f"        {setup}".replace("\n", "\n        "), predict="self.opened_in == os.getpid()"
    )
    with zygote_of(tmp_path, source) as zygote:
        workers = [first(zygote, "model")[0], spawn(zygote, "model"), spawn(zygote, "model")]
        assert [one.ask("model") for one in workers] == [True] * 3


# ---- ends


def test_the_worker_that_set_the_models_up_may_die(tmp_path):
    """The template outlives it, and forks its replacement."""
    with zygote_of(tmp_path) as zygote:
        worker, template = first(zygote)
        os.kill(worker.pid, signal.SIGKILL)
        assert zygote.exited().worker == worker.number
        assert spawn(zygote).ask("model")[0] == worker.pid
        assert not has_ended(template)


def test_workers_outlive_their_template(tmp_path):
    """If the template dies, its workers go on, and can still be reaped; the next worker sets the models up again."""
    with zygote_of(tmp_path) as zygote:
        worker, template = first(zygote)
        second = spawn(zygote)
        os.kill(template, signal.SIGKILL)
        assert zygote.template() == TemplateLost("p")
        assert wait_until(lambda: has_ended(template), "the template to be reaped")
        assert [one.ask("model")[0] for one in (worker, second)] == [worker.pid] * 2
        os.kill(second.pid, signal.SIGSEGV)
        assert zygote.exited().status == -signal.SIGSEGV
        third, _ = first(zygote)
        assert third.ask("model")[:2] == [third.pid] * 2
        assert spawn(zygote).ask("model")[0] == third.pid


@pytest.mark.parametrize("is_stopped", [False, True])
def test_no_process_outlives_the_zygote(tmp_path, is_stopped):
    """Killing the zygote kills the template, even one that is stopped, and workers that are stuck in user code."""
    with zygote_of(tmp_path) as zygote:
        _, template = first(zygote)
        worker = spawn(zygote)
        worker.run("stuck")
        worker.output_until("stuck")
        if is_stopped:
            os.kill(template, signal.SIGSTOP)
        zygote.process.kill()
        assert is_gone(template)
        assert worker.is_gone()


def test_no_process_outlives_the_engine(tmp_path):
    """When the engine's socket ends, so do the zygote, its template and its workers."""
    zygote = zygote_of(tmp_path)
    _, template = first(zygote)
    worker = spawn(zygote)
    zygote.close()
    assert is_gone(template)
    assert worker.is_gone()


# ---- what cannot be forked


def failure_of(zygote: ZygoteClient, pool: str = "model") -> str:
    """Return why the first worker of a pool could not set the models up; it has ended then, and left no template."""
    worker = spawn(zygote, pool, ready=False)
    message = worker.wire.expect(SetupFailed)
    assert isinstance(message, SetupFailed)
    assert zygote.exited().worker == worker.number
    assert not zygote._templates
    return message.traceback


CUDA = TORCH.format(initialized=True, bad=False).replace("import types", "import sys, types")
THREAD = 'threading.Thread(target=threading.Event().wait, name="lingerer", daemon=True).start()'


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (THREAD, "thread 'lingerer'"),
        (NATIVE_THREAD.replace("assert ", "print(").replace("== 0", ")"), "1 native thread"),
        (CUDA, "CUDA is initialized"),
    ],
    ids=["thread", "native", "cuda"],
)
def test_setup_that_leaves_what_a_fork_breaks(tmp_path, setup, words):
    """The pool cannot be started; the reason names what is left, and what can be done."""
    with small_zygote(tmp_path, setup) as zygote:
        reason = failure_of(zygote)
        assert f"pool 'model' preloads, but its setup() has left {words}" in reason
        assert "remove preload=True" in reason


def test_start_method_fork_forks_all_the_same(tmp_path):
    """``start_method="fork"`` makes a warning of it, as for what the import leaves."""
    with small_zygote(tmp_path, THREAD, start_method="fork") as zygote:
        worker, _ = first(zygote, "model")
        assert "has left thread 'lingerer'" in worker.output_until("workers may hang")
        assert spawn(zygote, "model").ask("model") == 1


def test_setup_that_fails(tmp_path):
    """An exception of ``setup`` is reported as from any worker, and the next worker tries again."""
    with small_zygote(tmp_path, "raise FileNotFoundError('weights.bin')") as zygote:
        for _ in range(2):
            reason = failure_of(zygote)
            assert "FileNotFoundError: weights.bin" in reason
            assert reason.count("File ") == 1


def test_setup_that_returns_an_awaitable(tmp_path):
    """There is no event loop to await it in; the error says so."""
    setup = "async def later(): ...\nreturn later()"
    with small_zygote(tmp_path, setup) as zygote:
        assert "setup() returned an awaitable, but with preload=True" in failure_of(zygote)


def test_workers_that_cannot_be_forked(tmp_path):
    """If the import has left something that a fork would break, the pool cannot be started."""
    source = SMALL.format(setup="        pass", predict="1") + THREAD
    with zygote_of(tmp_path, source) as zygote:
        assert zygote.loaded.hazards == ["thread 'lingerer'"]
        assert "preload=True forks the workers" in failure_of(zygote)


def test_openmp_pool_that_setup_has_used(tmp_path):
    """An idle OpenMP pool is released before the fork: it starts again in each worker."""
    libgomp()
    lines = OPENMP.partition("@app")[0]
    source = SMALL.format(setup="        assert compute() == 4", predict="compute()") + lines
    with zygote_of(tmp_path, source) as zygote:
        assert first(zygote, "model")[0].ask("model") == 4
        assert spawn(zygote, "model").ask("model") == 4


ONNX = """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
from penstock.app import App

app = App(__name__)

# The model y = x + x for two numbers, as the protocol buffers that onnx would write.
def field(number, content):
    if isinstance(content, int):
        return bytes([number << 3, content])
    content = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2, len(content)]) + content

def value(name):
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, field(1, field(1, 2)))))

NODE = field(1, "x") + field(1, "x") + field(2, "y") + field(4, "Add")
GRAPH = field(1, NODE) + field(2, "sum") + field(11, value("x")) + field(12, value("y"))
MODEL = field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, GRAPH)

@app.endpoint("/model", preload=True)
class Model:
    def setup(self):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = {threads}
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self.predict()

    def predict(self) -> list[float]:
        import numpy
        return self.session.run(None, {{"x": numpy.array([1.0, 2.0], dtype=numpy.float32)}})[0].tolist()
"""


def test_onnxruntime(tmp_path):
    """A session without threads of its own works in the forks; with threads, it is refused, and the library named."""
    pytest.importorskip("onnxruntime")
    with zygote_of(tmp_path, ONNX.format(threads=1)) as zygote:
        assert first(zygote, "model")[0].ask("model") == spawn(zygote, "model").ask("model") == [2.0, 4.0]
    with zygote_of(tmp_path, ONNX.format(threads=2)) as zygote:
        assert "native thread of onnxruntime" in failure_of(zygote)
