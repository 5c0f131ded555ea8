"""One notebook, executed: papermill in an empty folder, and an account of what the result depends on."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from labkit.runner import keys, locks, notebooks
from labkit.runner.outputs import merge, scrub
from labkit.runner.requests import Request

__all__ = ["Task", "execute", "task"]

# papermill marks a failed notebook with cells of its own.
_MARK = "papermill-error-cell-tag"


@dataclass(frozen=True)
class Task:
    """All that an execution needs, on this machine or another: the request, the notebook's text."""

    request: Request
    notebook: str
    root: str


def task(root: Path, request: Request) -> Task:
    """The task of a request, with the notebook as it is now, less its old outputs."""
    notebook = notebooks.read(notebooks.path(root, request.name))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    return Task(request, json.dumps(notebook), str(Path(root).resolve()))


def execute(task: Task) -> dict:
    """Execute a notebook and return it with its outputs and ``metadata.labkit``; nothing is written.

    A cell that raises, a kernel that dies, never starts or is interrupted make the status "failed", with the
    outputs so far.
    """
    import nbformat

    source = nbformat.reads(task.notebook, as_version=4)
    source["metadata"].pop("labkit", None)
    started = time.time()
    locks.clear()
    with locks.scratch() as scratch:
        executed, error = _papermill(task, source, scratch)
        report = executed["metadata"].pop("labkit", {})
        executed["cells"] = [cell for cell in executed["cells"] if _MARK not in notebooks.tags(cell)]
        if error:
            _show_error(executed, error)
        result = merge(source, executed)
        package = Path(report.get("package") or keys.package(Path(task.root)))
        record = {"format": keys.FORMAT, "status": "failed" if error else "ok"}
        record |= {"error": error} if error else {}
        record |= {"profile": task.request.profile, "seconds": round(time.time() - started, 1)}
        record |= keys.parts(package, task.request.name, result, task.request.parameters, report)
        record["files"] = {
            file: _unedited(package / file, value, started) for file, value in record["files"].items()
        }
        record |= {"versions": report.get("versions", {}), "key": keys.key(record)}
        result["metadata"]["labkit"] = record
        places = {scratch / "work": "", scratch: "tmp", task.root: "", package.parent: ""}
        result = scrub(result, places)
        result["metadata"]["labkit"]["outputs"] = keys.hash_outputs(result)
        return result


def _papermill(task: Task, source: dict, scratch: Path) -> tuple[dict, str]:
    """Run papermill; returns the notebook as far as it got, and the error, "" where there was none."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from labkit.runner import kernel

    root = Path(task.root)
    own = root if keys.package(root).parent == root else None
    # Filled while the cells run. Nothing goes through a file, which a full disk would cut short.
    account = {"notebook": source, "reason": ""}
    error = ""
    try:
        papermill.execute_notebook(
            source, None, parameters=task.request.given, engine_name=kernel.ENGINE,
            kernel_name="python3", language="python", progress_bar=False,
            root=own, scratch=scratch, account=account,
        )  # fmt: skip
    except PapermillExecutionError as failed:
        error = f"{failed.ename}: {failed.evalue}"
    except Exception as failed:  # whatever went wrong, the other notebooks go on and this one says why
        error = f"{type(failed).__name__}: {failed}"
    return account["notebook"], account["reason"] or error


def _show_error(notebook: dict, error: str) -> None:
    """Put the error where a reader sees it, if no cell shows one: no kernel came up, for instance."""
    import nbformat

    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = any(output["output_type"] == "error" for cell in code for output in cell["outputs"])
    if code and not shown:
        name, _, message = error.partition(": ")
        output = nbformat.v4.new_output("error", ename=name, evalue=message, traceback=[error])
        code[0]["outputs"].append(output)


def _unedited(file: Path, value: str, started: float) -> str:
    """A file's hash, unless it was written to after the kernel may have read it: that matches nothing."""
    return value if os.path.getmtime(file) < started else "edited while the notebook ran"
