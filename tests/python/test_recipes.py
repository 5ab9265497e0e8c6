"""The recipes of docs/running.md on real servers and launchers: what each process gets of the guard on a simulated Mac.

`scripts/test --full` installs what they need; each is skipped where that is missing. The guard cannot be loaded here:
every Python writes at its start the report that the library would, and a synthetic driver stands in for the library.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PACKAGE = pathlib.Path(__file__).parents[2] / "python"
LONG = 120

REPORTS = """
import json, os
def report():
    with open(os.path.join(os.environ["AGX_GUARD_REPORTS"], f"{os.getpid()}.json"), "w") as file:
        json.dump({"schema": "agxpatch.guard/1", "pid": os.getpid(), "driver": {"loaded": False}}, file)
if os.environ.get("AGX_GUARD") == "guard" and os.environ.get("DYLD_INSERT_LIBRARIES"):
    report()
    os.register_at_fork(after_in_child=report)
"""


def needs(*modules):
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def mac(tmp_path, monkeypatch):
    """A directory with a simulated Mac, and a command line that runs something on it."""
    program = os.environ.get("AGXPATCH")
    if not program:
        pytest.skip("AGXPATCH does not name the program")
    (tmp_path / "sitecustomize.py").write_text(REPORTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/Users/owner")
    search = [str(tmp_path), str(PACKAGE), str(EXAMPLES)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(search))
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    simulated = [program, "--simulate", str(tmp_path / "mac")]
    for words in (["synth", "library"], ["simulate", "new"], ["simulate", "set", "user", "501"]):
        subprocess.run([*simulated, *words], check=True, stdout=subprocess.DEVNULL)
    return [*simulated, "run", "--guard-library", str(tmp_path / "library"), "--report", "report.json", "--"]


def processes():
    return json.loads(pathlib.Path("report.json").read_text())["processes"]


def run(command):
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(port):
    """The answer of the example, which is awaited: the server takes its time to start."""
    deadline = time.monotonic() + LONG
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=b"[1, 2, 3]", timeout=LONG) as answer:
                return answer.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def serve(command, port):
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        assert ask(port) == b"6"
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(LONG)
    return status


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_each_process_of_multiprocessing_reports(mac, method):
    pathlib.Path("pool.py").write_text(f"""
import multiprocessing, os
def mode(_):
    return os.environ["AGX_GUARD"]
if __name__ == "__main__":
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        print(pool.map(mode, range(2)))
""")
    assert run([*mac, "python", "pool.py"]) == "['guard', 'guard']\n"
    assert processes() >= 3


@needs("uvicorn")
def test_each_worker_of_uvicorn_reports_and_the_server_ends_as_without(mac):
    port = free_port()
    status = serve([*mac, "uvicorn", "asgi_batcher:app", "--workers", "2", "--port", str(port)], port)
    assert status in (0, -signal.SIGTERM)
    assert processes() >= 3


@needs("gunicorn", "uvicorn")
@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_each_worker_of_gunicorn_reports(mac, preload):
    port = free_port()
    workers = ["-w", "2", "-k", "uvicorn.workers.UvicornWorker", "-b", f"127.0.0.1:{port}", *preload]
    assert serve([*mac, "gunicorn", "asgi_batcher:app", *workers], port) == 0
    assert processes() >= 3


@needs("torch")
def test_each_process_of_torchrun_reports(mac):
    pathlib.Path("rank.py").write_text("import os; print(os.environ['RANK'], os.environ['AGX_GUARD'])")
    told = run([*mac, "torchrun", "--nproc_per_node", "2", "rank.py"])
    assert sorted(told.split("\n")) == ["", "0 guard", "1 guard"]
    assert processes() >= 3


@pytest.mark.skipif(shutil.which("uv") is None, reason="not installed: uv")
def test_behind_uv_run_it_is_python_that_has_the_guard(mac):
    script = "import os; print(os.environ['AGX_GUARD'])"
    told = run(["uv", "run", "--no-project", "--offline", "--python", sys.executable, *mac, "python", "-c", script])
    assert told == "guard\n"
    assert processes() == 1


@pytest.mark.parametrize("conda", ["conda", "mamba", "micromamba"])
def test_conda_run_is_refused_with_the_line_to_type(mac, conda):
    starter = pathlib.Path(conda)
    starter.write_text('#!/bin/sh\nexec "$@"\n')
    starter.chmod(0o755)
    refused = subprocess.run(
        [*mac, f"./{conda}", "run", "-n", "ENV", "python"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 3
    assert f"{conda} run … agxpatch run -- PROGRAM" in refused.stderr


@needs("jupyter_client", "ipykernel")
def test_jupyter_starts_interrupts_restarts_and_ends_the_kernel(tmp_path, monkeypatch):
    import jupyter_client

    program = os.environ.get("AGXPATCH")
    if not program:
        pytest.skip("AGXPATCH does not name the program")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / ".local/share/jupyter"))
    words = ["jupyter", "--guard", "off", "--python", sys.executable, "--write"]
    subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL)
    manager = jupyter_client.KernelManager(kernel_name="agxpatch")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()

    def execute(code):
        printed = []
        reply = client.execute_interactive(code, timeout=LONG, output_hook=printed.append)
        return reply["content"]["status"], [
            each["content"].get("text") for each in printed if each["msg_type"] == "stream"
        ]

    try:
        client.wait_for_ready(timeout=LONG)
        assert execute("print(1 + 1)") == ("ok", ["2\n"])
        client.execute("import time\nprint('asleep', flush=True)\ntime.sleep(600)")
        while client.get_iopub_msg(timeout=LONG)["msg_type"] != "stream":
            pass
        manager.interrupt_kernel()
        assert client.get_shell_msg(timeout=LONG)["content"]["ename"] == "KeyboardInterrupt"
        manager.restart_kernel()
        client.wait_for_ready(timeout=LONG)
        assert execute("print(2 + 2)") == ("ok", ["4\n"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert not manager.is_alive()
