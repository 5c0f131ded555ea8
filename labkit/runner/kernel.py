"""Papermill with a kernel of our own choosing: the runner's Python, an empty folder, one thread."""

import ast
import json
import logging
import os
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

__all__ = ["ENGINE", "environment", "kill_kernels"]

ENGINE = "labkit"
_THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
_silent = logging.getLogger("labkit.runner.kernel")
_silent.setLevel(logging.CRITICAL + 1)
_kernels: weakref.WeakSet = weakref.WeakSet()


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
    """Executes the cells as papermill does, then asks the kernel what they depended on."""

    def __init__(self, manager, *, scratch: Path):
        # What goes wrong is told once, in the outcome, and not by the client's log as well.
        super().__init__(manager, startup_timeout=120, shell_timeout_interval=1, log=_silent)
        self.scratch, self.died = scratch, False

    def create_kernel_manager(self) -> AsyncKernelManager:
        settings = {"kernel_name": "python3", "kernel_spec_manager": OwnPython(parent=self), "parent": self}
        settings["connection_file"] = str(self.scratch / "kernel.json")
        # Sockets in a folder that only its owner can enter: no ports to race for, nothing on the network.
        # A socket's path can be about 100 characters long, and Windows has none.
        if os.name == "posix" and len(settings["connection_file"]) < 90:
            settings["transport"] = "ipc"
        self.km = AsyncKernelManager(**settings)
        _kernels.add(self.km)
        return self.km

    def execute_cell(self, cell, index, **kwargs):
        try:
            return super().execute_cell(cell, index, **kwargs)
        except DeadKernelError as error:
            self.died = True
            message = "the kernel died in this cell (out of memory?)"
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


class LabkitEngine(Engine):
    """The papermill engine: the kernel works in an empty folder inside ``scratch``, the rest beside it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, root, scratch, **kwargs):
        work = scratch / "work"
        work.mkdir()
        Client(nb_man, scratch=scratch).execute(cwd=str(work), env=environment(root, scratch / "ipython"))


def kill_kernels() -> None:
    """Kill every kernel that this process started, so that the threads waiting for them end."""
    for manager in list(_kernels):
        process = getattr(manager.provisioner, "process", None)
        if process is not None and process.poll() is None:
            process.kill()


papermill_engines.register(ENGINE, LabkitEngine)
