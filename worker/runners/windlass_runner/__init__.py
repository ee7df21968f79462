"""Calls one function of a project as a step: arguments in, outputs, metrics and calls out.

Standard library only, Python 3.8 or later. What this module imports is paid for by every step, so
json, re, inspect, typing and traceback stay out; `failure` and `instrument` load when needed.
The bootstrap sets `__path__` and `bundle`.
"""
import marshal
import os
import sys


def _part(name):
    """A module of this package, from the compiled bundle that the bootstrap found."""
    full = __name__ + "." + name
    module = sys.modules.get(full)
    if module is None:
        module = sys.modules[full] = type(sys)(full)
        module.__package__ = __name__
        module.__file__ = "{}/{}.py".format(__path__[0], name)
        exec(marshal.loads(bundle[name]), module.__dict__)
    return module


values = _part("values")
watch = _part("watch")

# Flag of a code object whose function takes *args.
_VARARGS = 4


class Request:
    """What the worker asks for: a file of texts that each end with NUL, lists after their length."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self._fields = iter(file.read().decode("utf-8", "surrogateescape").split("\0"))
        self.target = self._next()
        # The project as the step sees it: its working directory.
        self.project = self._next()
        self.outputs_dir = self._next()
        self.metrics_file = self._next()
        self.calls_file = self._next()
        self.failure_file = self._next()
        self.results_file = self._next()
        # (name, codec, JSON text or path)
        self.args = self._list(3)
        # (name, pick, codec)
        self.outputs = self._list(3)
        self.metrics_given = self._next() == "1"
        # (name, pick)
        self.metrics = self._list(2)
        # (module, function, argument, JSON text)
        self.overrides = self._list(4)

    def _next(self):
        return next(self._fields)

    def _list(self, width):
        return [[self._next() for _ in range(width)] for _ in range(int(self._next()))]


def main(path):
    """Runs the step that the request file at `path` describes, and ends as Python would."""
    request = Request(path)
    process = os.getpid()
    try:
        sys.stdout.reconfigure(line_buffering=True)
    except AttributeError:
        pass  # no stdout, or one of another kind
    try:
        if request.target.endswith(".ipynb"):
            return _run_notebook(request)
        function = _load(request)
        result = _call(function, _typed(function, _arguments(request), request), request.target)
        if os.getpid() == process:  # a fork that comes back here has nothing to say
            values.keep(result, request)
    except BaseException as error:
        failure = _part("failure")
        if not failure.ends_well(error) or os.getpid() != process:
            failure.report(error, request)
            raise
        values.keep(None, request)
        raise
    finally:
        watch.stop()


def _load(request):
    """Imports the module of the target and returns the function."""
    place, _, name = request.target.rpartition(":")
    project = request.project
    roots = [project]
    if place.endswith(".py"):
        directory, _, place = os.path.join(project, place).rpartition("/")
        place = place[:-3]
        directory = os.path.normpath(directory)
        if directory != project:
            roots.insert(0, directory)
    else:
        top = os.path.join(project, place.partition(".")[0])
        below = os.path.join(project, "src", place.partition(".")[0])
        if not _is_module(top) and _is_module(below):
            roots.insert(0, os.path.join(project, "src"))
    if sys.path and sys.path[0] == "":
        del sys.path[0]
    sys.path[:0] = roots
    sys.argv = [request.target]
    watch.start(request, place, name)
    module = _import(place, roots[0])
    function = module
    for part in name.split("."):
        try:
            function = getattr(function, part)
        except AttributeError:
            raise values.StepError("{} has no function {!r}".format(place, name)) from None
    if not callable(function):
        raise values.StepError("{} is no function: {!r}".format(request.target, type(function).__name__))
    watch.exempt(function)
    return function


def _run_notebook(request):
    result = _part("notebook").run(request)
    if result is not None:
        request.outputs = [[name, "." + name, codec] for name, _, codec in request.outputs]
        request.metrics_given = request.metrics_given or not request.outputs
        values.keep(result, request)


# Hints that JSON's own values fit as they are, as objects and as text.
_PLAIN = frozenset((str, int, float, bool, list, dict, object, None, type(None)))
_PLAIN_NAMES = frozenset(("str", "int", "float", "bool", "list", "dict", "object", "None", "Any"))


def _typed(function, arguments, request):
    """Plain values become dataclasses, models, enums and the like where hints ask for them."""
    hints = getattr(function, "__annotations__", None)
    if not hints:
        return arguments
    plain = [name for name, codec, _ in request.args if codec in ("", "json") and name in hints]
    for name in plain:
        hint = hints[name]
        known = hint in _PLAIN_NAMES if isinstance(hint, str) else isinstance(hint, type) and hint in _PLAIN
        if not known:
            _part("typed").convert(function, arguments, plain)
            break
    return arguments


def _is_module(path):
    return os.path.isdir(path) or os.path.isfile(path + ".py")


def _import(name, root):
    if name in sys.modules or name in sys.builtin_module_names:
        # A file that is called like a module of Python's own start-up.
        return watch.load_beside(name, root)
    __import__(name)
    return sys.modules[name]


def _arguments(request):
    """Decodes the bound arguments, a mapping in the order of the request."""
    return {name: values.decode(name, codec, text) for name, codec, text in request.args}


def _call(function, arguments, target):
    positional = _positional(function, arguments)
    watch.armed(True)
    result = function(*positional, **arguments)
    if hasattr(type(result), "__await__"):
        import asyncio

        async def wait():
            return await result

        result = asyncio.run(wait())
    watch.armed(False)
    kind = type(result).__name__
    if kind in ("generator", "async_generator"):
        raise values.StepError(
            "{} returned a generator, which cannot be kept: return a list of its items".format(target)
        )
    return result


def _positional(function, arguments):
    """Takes those arguments out that can only be given by position."""
    inner = function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    code = getattr(inner, "__code__", None)
    given = []
    if code is None or not (getattr(code, "co_posonlyargcount", 0) or code.co_flags & _VARARGS):
        return given
    starred = code.co_flags & _VARARGS
    rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount] if starred else None
    count = code.co_argcount if rest in arguments else code.co_posonlyargcount
    for name in code.co_varnames[:count]:
        if name not in arguments:
            return given
        given.append(arguments.pop(name))
    if rest in arguments:
        given.extend(arguments.pop(rest))
    return given
