"""Papermill with a kernel of our own choosing: the runner's Python, an empty folder, one thread."""

import ast
import contextlib
import json
import logging
import os
import signal
import sys
import weakref
from importlib.resources import files
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

__all__ = ["ENGINE", "environment", "stop_kernels"]

ENGINE = "labkit"
_THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
_silent = logging.getLogger("labkit.runner.kernel")
_silent.setLevel(logging.CRITICAL + 1)
_kernels: weakref.WeakSet = weakref.WeakSet()
_stopped: weakref.WeakSet = weakref.WeakSet()


def environment(root: Path | None, ipython: Path) -> dict[str, str]:
    """The kernel's environment variables: this process's, with what a headless run needs.

    root: the checkout whose ``labkit`` is to be imported, None for the installed one.
    ipython: a folder for IPython's own files, so that nobody's start-up scripts take part.
    """
    paths = [str(root)] if root else []
    paths += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    own = {f"{library}_NUM_THREADS": "1" for library in _THREADS}
    own |= {"LABKIT_HEADLESS": "1", "IPYTHONDIR": str(ipython), "TOKENIZERS_PARALLELISM": "false"}
    own |= {"PYTHONPATH": os.pathsep.join(paths), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return os.environ | own


class OwnPython(KernelSpecManager):
    """Knows one kernel, the Python that runs this, whatever kernels the machine has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python", name=kernel_name)


class Client(PapermillNotebookClient):
    """Executes the cells as papermill does, then asks the kernel what they depended on.

    ``died``: how the kernel ended in a cell, in words; "" where it did not.
    """

    def __init__(self, manager, *, scratch: Path):
        # What goes wrong is told once, in the outcome, and not by the client's log as well.
        super().__init__(manager, startup_timeout=120, shell_timeout_interval=1, log=_silent)
        self.scratch, self.died, self.manager = scratch, "", None

    def create_kernel_manager(self) -> AsyncKernelManager:
        settings = {"kernel_name": "python3", "kernel_spec_manager": OwnPython(parent=self), "parent": self}
        settings["connection_file"] = str(self.scratch / "kernel.json")
        # Sockets in a folder that only its owner can enter: no ports to race for, nothing on the network.
        # A socket's path can be about 100 characters long, and Windows has none.
        if os.name == "posix" and len(settings["connection_file"]) < 90:
            settings["transport"] = "ipc"
        self.km = self.manager = AsyncKernelManager(**settings)  # nbclient drops its own in the end
        _kernels.add(self.km)
        return self.km

    def execute_cell(self, cell, index, **kwargs):
        try:
            return super().execute_cell(cell, index, **kwargs)
        except DeadKernelError as error:
            self.died = message = _how_it_ended(self.manager)
            cell.outputs.append(
                new_output("error", ename="DeadKernelError", evalue=message, traceback=[message])
            )
            raise CellExecutionError(message, "DeadKernelError", message) from error

    def papermill_execute_cells(self):
        super().papermill_execute_cells()
        if not self.died:
            self.nb.metadata["labkit"] = self._provenance()

    def _provenance(self) -> dict:
        """What the module `labkit.runner.provenance` reports from inside the kernel."""
        code = files("labkit.runner").joinpath("provenance.py").read_text(encoding="utf-8")
        ask = {"report": "_labkit_provenance()"}
        message = self.kc.execute(code, silent=True, store_history=False, user_expressions=ask)
        content = self.wait_for_reply(message)["content"]
        reply = content.get("user_expressions", {}).get("report", content)
        if reply["status"] != "ok":
            raise RuntimeError(
                f"the kernel could not report what the result depends on: {reply.get('evalue')}"
            )
        return json.loads(ast.literal_eval(reply["data"]["text/plain"]))


def _how_it_ended(manager: AsyncKernelManager) -> str:
    """What became of a kernel that is no more."""
    if manager in _stopped:
        return "the run was interrupted in this cell"
    process = getattr(manager.provisioner, "process", None)
    status = None if process is None else process.poll()
    if status is None:
        return "the kernel died in this cell"
    if status >= 0:
        return f"the kernel ended in this cell, with exit status {status}"
    name = signal.Signals(-status).name
    return f"the kernel was ended by {name} in this cell" + (" (out of memory?)" if name == "SIGKILL" else "")


class LabkitEngine(Engine):
    """The papermill engine: the kernel works in an empty folder inside ``scratch``, the rest beside it.

    account: gets "notebook", which fills while the cells run, and "reason", why the kernel ended or was
    made to, "" otherwise.
    """

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, root, scratch, account, **kwargs):
        account["notebook"] = nb_man.nb
        work = scratch / "work"
        work.mkdir()
        client = Client(nb_man, scratch=scratch)
        try:
            client.execute(cwd=str(work), env=environment(root, scratch / "ipython"))
        finally:
            if client.manager in _stopped:
                account["reason"] = "KeyboardInterrupt: the run was interrupted"
            elif client.died:
                account["reason"] = f"DeadKernelError: {client.died}"


def stop_kernels(number: int = getattr(signal, "SIGKILL", signal.SIGTERM)) -> None:
    """Send a signal to every kernel that this process started, and to what its cells started.

    number: SIGINT interrupts the cells, which then show how far they came; SIGKILL ends the kernels.
    """
    for manager in list(_kernels):
        process = getattr(manager.provisioner, "process", None)
        if process is None or process.poll() is not None:
            continue
        _stopped.add(manager)
        with contextlib.suppress(ProcessLookupError):  # it has ended this instant
            if os.name == "posix":
                os.killpg(process.pid, number)  # each kernel leads a session of its own
            else:
                process.kill()


papermill_engines.register(ENGINE, LabkitEngine)
