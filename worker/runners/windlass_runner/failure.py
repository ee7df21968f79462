"""What went wrong: the traceback as Python prints it, without our frames, and a file for the record."""
import os
import sys

from .values import StepError, dumps

# Most frames that are recorded, from the outer and from the inner end.
OUTER_FRAMES = 16
INNER_FRAMES = 48
# Longest message and source line that are recorded.
MAX_TEXT = 10000

_HERE = os.path.dirname(__file__)
_IMPORTLIB = "<frozen importlib"


def ends_well(error):
    """True for `sys.exit()` and `sys.exit(0)`: the function is done and returned nothing."""
    return isinstance(error, SystemExit) and error.code in (None, 0) and error.code is not False


def report(error, request):
    """Records `error` and sees that Python's own last words leave our frames out."""
    try:
        sys.stdout.flush()
    except Exception:
        pass
    _strip_all(error)
    try:
        _record(error, request)
    except Exception:
        pass  # the traceback in the log says it too
    shown = sys.excepthook

    def hook(kind, value, traceback):
        if isinstance(value, StepError):
            cause = value.__cause__
            if cause is not None and cause.__traceback__ is not None:  # within the user's code
                shown(type(cause), cause, cause.__traceback__)
            sys.stderr.write("windlass: {}\n".format(value))
            return
        _strip_all(value)
        shown(kind, value, value.__traceback__)

    sys.excepthook = hook


def _is_ours(traceback):
    code = traceback.tb_frame.f_code
    outermost = code.co_filename == "<string>" and traceback.tb_frame.f_back is None
    return outermost or code.co_filename.startswith(_HERE)


def _is_importlib(traceback):
    return traceback.tb_frame.f_code.co_filename.startswith(_IMPORTLIB)


def _strip(traceback):
    """The traceback without our frames, nor importlib's beside them, as Python leaves those out."""
    frames = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    drop = [_is_ours(frame) for frame in frames]
    for order in (range(1, len(frames)), range(len(frames) - 2, -1, -1)):
        for i in order:
            beside = i - 1 if order.step > 0 else i + 1
            if drop[beside] and _is_importlib(frames[i]):
                drop[i] = True
    kept = [frame for frame, dropped in zip(frames, drop) if not dropped]
    for frame, following in zip(kept, kept[1:] + [None]):
        frame.tb_next = following
    return kept[0] if kept else None


def _strip_all(error):
    waiting, seen = [error], set()
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        error.__traceback__ = _strip(error.__traceback__)
        waiting += [error.__cause__, error.__context__]
        waiting += getattr(error, "exceptions", ()) if hasattr(error, "derive") else ()


def _record(error, request):
    import linecache

    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        file = code.co_filename
        line = linecache.getline(file, traceback.tb_lineno, traceback.tb_frame.f_globals).strip()
        if file.startswith(request.project + "/"):
            file = file[len(request.project) + 1 :]
        frames.append({"file": file, "line": traceback.tb_lineno, "function": code.co_name, "source": line[:MAX_TEXT]})
        traceback = traceback.tb_next
    if len(frames) > OUTER_FRAMES + INNER_FRAMES:
        frames = frames[:OUTER_FRAMES] + frames[-INNER_FRAMES:]
    if isinstance(error, SyntaxError) and error.filename:
        file = str(error.filename)
        if file.startswith(request.project + "/"):
            file = file[len(request.project) + 1 :]
        frames.append({"file": file, "line": error.lineno or 0, "function": "", "source": (error.text or "").strip()})
    record = {"type": type(error).__name__, "message": _message(error), "frames": frames}
    record["missing"] = _missing(error)
    with open(request.failure_file, "wb") as file:
        file.write(dumps(record).encode("utf-8", "replace"))


def _message(error):
    try:
        return str(error)[:MAX_TEXT]
    except Exception:
        return "<exception str() failed>"


def _missing(error):
    """Path of the file, or name of the module, that was not there."""
    seen = 0
    while error is not None and seen < INNER_FRAMES:
        if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
            return error.filename
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name
        error, seen = error.__cause__ or error.__context__, seen + 1
    return ""
