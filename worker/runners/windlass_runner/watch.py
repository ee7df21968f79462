"""Records the calls from the step's function to functions of the project, and sets their arguments.

Project modules are loaded from a rewritten syntax tree (see `instrument`): the body of each plain
top-level function runs inside `with __windlass__(arguments…):`. No wrapper objects, no frames and no
local variables are added, so pickling, identity, signatures and tracebacks stay as they are.
"""
import builtins
import marshal
import os
import sys
from _frozen_importlib_external import (
    BYTECODE_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from _imp import _fix_co_filename, extension_suffixes, source_hash
from _thread import get_ident
from sys import _getframe
from time import perf_counter

from .values import dumps, loads

# Most records of a step, and most calls of a function that are looked at.
MAX_CALLS = 1000
# Longest text that is recorded by value.
MAX_TEXT = 256
# Most entries of a **kwargs that are recorded.
MAX_KEYWORDS = 64

HOOK = "__windlass__"
SETTER = "__windlass_set__"
_HASH_KEY = 0x57696E64
_CODE = type(_getframe().f_code)
_CACHE = "{}/code/{}-{:x}-{}".format(
    os.path.dirname(os.path.dirname(__file__)), sys.implementation.cache_tag, sys.hexversion, sys.flags.optimize
)
# Words in a source that compiles bytecode itself and would not understand the rewritten one.
_COMPILERS = (b"numba", b"torch.compile", b"_dynamo")


class _Idle:
    def __enter__(self):
        pass

    def __exit__(self, kind, error, traceback):
        pass


def _instrument():
    return sys.modules[__package__]._part("instrument")


class State:
    """What is watched in this process. One request, one state."""

    project = ""
    target = ("", "")
    overrides = []
    calls_file = ""
    records = None
    count = 0
    main = get_ident()
    # True while the step's function runs.
    armed = False
    # True inside a call that will be recorded.
    busy = False


_IDLE = _Idle()
# id of a code object → Site.
_sites = {}


class Site:
    """One rewritten function."""

    def __init__(self, code, module, overrides):
        self.code = code
        self.module = module
        self.calls = 0
        self.silent = False
        # (index in the request, JSON text) in the order of the rewritten assignment.
        self.overrides = overrides
        # Threads that are inside this function; kept only for overrides.
        self.inside = set()
        self.used = False


class _Call:
    def __init__(self, site, values):
        self.site = site
        self.args = bound(site.code, values)
        self.start = 0.0

    def __enter__(self):
        State.busy = True
        self.start = perf_counter()

    def __exit__(self, kind, error, traceback):
        seconds = perf_counter() - self.start
        State.busy = False
        record = {"function": self.site.code.co_name, "module": self.site.module, "args": self.args}
        record["seconds"] = round(seconds, 6)
        if kind is not None:
            record["error"] = kind.__name__
        write(record)
        State.count += 1
        if State.count >= MAX_CALLS:
            State.armed = False


class _Inside:
    """Marks a function with overrides as entered: calls of itself are left alone."""

    def __init__(self, site, call):
        self.site = site
        self.call = call
        self.thread = get_ident()

    def __enter__(self):
        self.site.inside.add(self.thread)
        self.call.__enter__()

    def __exit__(self, kind, error, traceback):
        self.site.inside.discard(self.thread)
        self.call.__exit__(kind, error, traceback)


def _enter(*values):
    """What a rewritten function enters first; `values` are its arguments."""
    site = _sites.get(id(_getframe(1).f_code))
    if site is None:
        return _IDLE
    call = _IDLE
    if State.armed and not State.busy and not site.silent and get_ident() == State.main:
        call = _Call(site, values)
    if site.overrides:
        return call if get_ident() in site.inside else _Inside(site, call)
    site.calls += 1
    if site.calls == MAX_CALLS:
        _instrument().retire(site, _getframe(1).f_globals)
    return call


def _set(*current):
    """The values for the arguments that are set from outside."""
    site = _sites.get(id(_getframe(1).f_code))
    if site is None or get_ident() in site.inside:
        return current
    if not site.used:
        site.used = True
        for index, _ in site.overrides:
            write({"set": index})
    return [loads(text) for _, text in site.overrides]


def bound(code, values):
    """Argument names to what is recorded of their values."""
    named = code.co_argcount + code.co_kwonlyargcount
    args = {name: show(value) for name, value in zip(code.co_varnames[:named], values)}
    rest = named
    if code.co_flags & 4:  # *args
        if values[rest]:
            args["*" + code.co_varnames[rest]] = show(values[rest])
        rest += 1
    if code.co_flags & 8:  # **kwargs
        for name in list(values[rest])[:MAX_KEYWORDS]:
            args[str(name)[:MAX_TEXT]] = show(values[rest][name])
    return args


def show(value):
    """A scalar by value, anything else by type and shape. Never fails, never looks inside."""
    kind = type(value)
    try:
        if value is None or kind is bool:
            return value
        if kind is int:
            bits = value.bit_length()
            return value if bits < 64 else str(value) if bits < 3 * MAX_TEXT else "int({} bits)".format(bits)
        if kind is float:
            return value if value - value == 0 else repr(value)
        if kind is str:
            return value if len(value) <= MAX_TEXT else "str(len={})".format(len(value))
        if hasattr(kind, "__fspath__"):
            return show(str(value))
        shape = getattr(value, "shape", None) if hasattr(kind, "shape") else None
        if isinstance(shape, tuple):
            if shape == () and hasattr(kind, "item"):
                scalar = value.item()
                return show(scalar) if type(scalar) in (bool, int, float, str) else kind.__name__
            return "{}({})".format(kind.__name__, ", ".join(str(int(size)) for size in shape))
        if hasattr(kind, "__len__"):
            return "{}(len={})".format(kind.__name__, len(value))
    except Exception:
        pass
    if kind is type or callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)[:MAX_TEXT]
    return kind.__name__


def write(record):
    """Appends one line to the file of calls."""
    try:
        if State.records is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            State.records = os.open(State.calls_file, flags, 0o600)
        os.write(State.records, (dumps(record) + "\n").encode("utf-8", "replace"))
    except (OSError, ValueError):
        State.armed = False


class ProjectLoader(SourceFileLoader):
    """Loads a module of the project, rewritten; compiled code is kept beside the runner."""

    def get_code(self, fullname):
        path = self.get_filename(fullname)
        source = self.get_data(path)
        variant, overrides = _variant(fullname, source)
        tail = source_hash(_HASH_KEY, variant.encode()).hex() if variant else "plain"
        name = "{}-{:x}-{}".format(source_hash(_HASH_KEY, source).hex(), len(source), tail)
        kept = os.path.join(_CACHE, name)
        code = _kept(kept)
        if code is None:  # not within an except clause: an error of the source shall stand alone
            code = _instrument().compile_module(self, source, path, variant, overrides)
            _instrument().store(kept, code)
        else:
            _fix_co_filename(code, path)
        _register(code, fullname, overrides)
        return code


def _kept(path):
    try:
        with open(path, "rb") as file:
            code = marshal.loads(file.read())
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return code if type(code) is _CODE else None


def _variant(module, source):
    """How to rewrite this module: a text that names the way, and the overrides that fall on it."""
    overrides = {}
    for index, (where, function, arg, text) in enumerate(State.overrides):
        if where == module:
            overrides.setdefault(function, []).append((arg, index, text))
    watched = not any(word in source for word in _COMPILERS)
    if not (watched or overrides):
        return "", overrides
    spared = State.target[1] if State.target[0] == module else ""
    names = {function: [arg for arg, _, _ in found] for function, found in overrides.items()}
    return "{:d} {} {}".format(watched, spared, names or ""), overrides


def _register(code, module, overrides):
    for const in code.co_consts:
        if type(const) is _CODE and (HOOK in const.co_names or SETTER in const.co_names):
            found = overrides.get(const.co_name, ()) if SETTER in const.co_names else ()
            _sites[id(const)] = Site(const, module, [(index, text) for _, index, text in found])


def _finder(path):
    inside = path == State.project or path.startswith(State.project + "/")
    if not inside or "/site-packages" in path or "/dist-packages" in path or not os.path.isdir(path):
        raise ImportError
    return FileFinder(
        path,
        (ExtensionFileLoader, extension_suffixes()),
        (ProjectLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )


def start(request, module, function):
    """Watches the project's modules that are imported from now on."""
    State.project = request.project
    State.target = (module, function)
    State.overrides = request.overrides
    State.calls_file = request.calls_file
    setattr(builtins, HOOK, _enter)
    setattr(builtins, SETTER, _set)
    sys.path_hooks.insert(0, _finder)
    for path in list(sys.path_importer_cache):
        if path.startswith(State.project):
            del sys.path_importer_cache[path]
    os.register_at_fork(after_in_child=stop)


def load_beside(name, root):
    """Loads `name` from `root` although another module has that name already."""
    from _frozen_importlib import module_from_spec

    spec = _finder(root).find_spec(name)
    if spec is None:
        raise ModuleNotFoundError("No module named {!r}".format(name), name=name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exempt(function):
    """Leaves the step's own function out, also where it came from another module."""
    while function is not None:
        site = _sites.get(id(getattr(function, "__code__", None)))
        if site is not None:
            site.silent = True
        function = getattr(function, "__wrapped__", None)


def armed(on):
    """Begins or ends the recording."""
    State.armed = on


def stop():
    """Records nothing more; arguments are still set."""
    State.armed = False
