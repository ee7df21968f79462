"""Runs a notebook as a step: parameters in, the executed copy in its place, variables out."""
import os
import pickle
import re
import sys
import tempfile

from .values import StepError, decode

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Longest source line of the cell that failed that is shown.
MAX_SOURCE = 200


def run(request):
    """Executes the notebook and returns the variables that are outputs, or None where there are none."""
    try:
        import nbclient
        import nbformat
    except ImportError as error:
        raise StepError(
            "the notebook needs nbclient and ipykernel in its environment ({}): `pip install nbclient ipykernel`, "
            "or name them in the requirements file of `env:`".format(error)
        ) from None
    path = os.path.join(request.project, request.target)
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise StepError("{} is no notebook: {}".format(request.target, error)) from None
    _inject(notebook, _arguments(request), nbformat)
    place = {"metadata": {"path": request.project}}
    client = _client(nbclient)(notebook, timeout=None, kernel_name=_kernel(notebook), resources=place)
    try:
        return _execute(client, notebook, [name for name, _, _ in request.outputs], nbformat, nbclient)
    finally:
        nbformat.write(notebook, path)


def _arguments(request):
    """Arguments as literals; what has none is not given to a notebook."""
    given = {}
    for name, codec, text in request.args:
        if codec in ("", "json", "env"):
            given[name] = repr(decode(name, codec, text))
        else:
            # A value in a file: read by the kernel itself.
            load = "__import__('pickle').load(open({!r}, 'rb'))".format(text)
            given[name] = load if codec == "pickle" else repr(text)
    return given


def _inject(notebook, given, nbformat):
    if not given:
        return
    source = "# Parameters\n" + "".join("{} = {}\n".format(name, text) for name, text in given.items())
    cell = nbformat.v4.new_code_cell(source.rstrip("\n"), metadata={"tags": ["injected-parameters"]})
    if notebook.nbformat_minor < 5:
        cell.pop("id", None)
    tags = [set(cell.get("metadata", {}).get("tags", [])) for cell in notebook.cells]
    before = [i for i, tag in enumerate(tags) if "injected-parameters" in tag]
    if before:  # of an execution before
        notebook.cells[before[0]] = cell
        return
    after = [i + 1 for i, tag in enumerate(tags) if "parameters" in tag]
    notebook.cells.insert(after[0] if after else 0, cell)


def _kernel(notebook):
    spec = notebook.get("metadata", {}).get("kernelspec", {})
    language = spec.get("language") or notebook.get("metadata", {}).get("language_info", {}).get("name") or "python"
    # Whatever it is called there, a Python notebook runs in the step's own environment.
    return "python3" if language == "python" else spec.get("name", "python3")


def _client(nbclient):
    class Client(nbclient.NotebookClient):
        """Shows what cells print as it comes."""

        def output(self, outs, msg, display_id, cell_index):
            if msg["msg_type"] == "stream":
                stream = sys.stderr if msg["content"]["name"] == "stderr" else sys.stdout
                stream.write(msg["content"]["text"])
                stream.flush()
            return super().output(outs, msg, display_id, cell_index)

    return Client


def _execute(client, notebook, names, nbformat, nbclient):
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, index)
            except nbclient.exceptions.CellExecutionError as error:
                sys.stdout.flush()
                lines = cell.source.splitlines() or [""]
                errors = [output for output in cell.outputs if output.output_type == "error"]
                trace = "\n".join(line for output in errors for line in output["traceback"])
                sys.stderr.write(_ESCAPES.sub("", trace or str(error)).rstrip("\n") + "\n")
                message = "cell {} failed: {}: {} (it begins `{}`)".format(
                    index + 1, error.ename, error.evalue, lines[0][:MAX_SOURCE]
                )
                raise StepError(message) from None
        client.set_widgets_metadata()
        return _variables(client, notebook, names, nbformat, nbclient) if names else None


def _variables(client, notebook, names, nbformat, nbclient):
    handle, path = tempfile.mkstemp(prefix="windlass-")
    os.close(handle)
    try:
        source = "import pickle as _p\nwith open({!r}, 'wb') as _f:\n    _p.dump({{n: globals()[n] for n in {!r}}}, _f, 5)"
        # nbclient executes only what is a cell of the notebook; this one is none of the user's.
        notebook.cells.append(nbformat.v4.new_code_cell(source.format(path, names)))
        try:
            client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1, store_history=False)
        except nbclient.exceptions.CellExecutionError as error:
            if error.ename == "KeyError":
                raise StepError("the notebook has no variable {} for its output".format(error.evalue)) from None
            raise StepError("an output of the notebook cannot be kept: {}: {}".format(error.ename, error.evalue)) from None
        finally:
            notebook.cells.pop()
        with open(path, "rb") as file:
            return pickle.load(file)
    finally:
        os.unlink(path)
