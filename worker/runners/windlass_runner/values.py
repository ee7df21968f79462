"""Values to files and back: JSON where that loses nothing, else pickle."""
import os

# Deepest nesting that is kept as JSON; common readers refuse more than 128.
MAX_DEPTH = 100
# Modules looked for in the project so that one pickle can be read.
MAX_MISSING = 8
# Directories looked through for one such module.
MAX_DIRECTORIES = 2000
# Newest protocol that Python 3.8 reads.
PROTOCOL = 5
# Most bytes of JSON outputs that go into the one file of results; the others get files of their own.
MAX_RESULTS = 64 << 10

_SCALARS = frozenset((str, int, float, bool, type(None)))
_CONTAINERS = frozenset((dict, list))


class StepError(Exception):
    """A mistake that a person mends in the pipeline or the function; shown without traceback."""


_LITERALS = {"null": None, "true": True, "false": False}
# Longest list or mapping that is written without loading the codec below.
_SMALL = 32


class _Codec:
    """The C half of `json`, which spares the import of the other half; loaded when first needed."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    loaded = None

    def __init__(self):
        from _json import encode_basestring, make_encoder, make_scanner

        self._scan = make_scanner(self)
        self._encode = make_encoder(None, _refuse, encode_basestring, None, ": ", ", ", False, False, False)

    def loads(self, text):
        try:
            value, end = self._scan(text, 0)
        except StopIteration:
            end = -1
        if end != len(text):
            raise ValueError("not JSON: {!r}".format(text[:80]))
        return value

    def dumps(self, value):
        return "".join(self._encode(value, 0))


class _PureCodec:
    """For interpreters without the C half."""

    def __init__(self):
        import json

        self._json = json
        self.loads = json.loads

    def dumps(self, value):
        return self._json.dumps(value, ensure_ascii=False, allow_nan=False)


def _refuse(value):
    raise TypeError(type(value).__name__)


def _codec():
    if _Codec.loaded is None:
        try:
            _Codec.loaded = _Codec()
        except (ImportError, AttributeError, TypeError):
            _Codec.loaded = _PureCodec()
    return _Codec.loaded


def loads(text):
    """The value of a JSON text."""
    text = text.strip(" \t\r\n")
    if text in _LITERALS:
        return _LITERALS[text]
    if text.isascii() and text.isdigit() and len(text) < 20 and (text[0] != "0" or text == "0"):
        return int(text)
    if len(text) > 1 and text[0] == text[-1] == '"' and text[1:-1].isprintable() and _is_bare(text[1:-1]):
        return text[1:-1]
    return _codec().loads(text)


def dumps(value):
    """JSON text; ValueError for what JSON cannot say."""
    text = _dump_small(value)
    return _codec().dumps(value) if text is None else text


def _is_bare(text):
    return '"' not in text and "\\" not in text


def _dump_small(value):
    """JSON text of a small and simple value, else None."""
    kind = type(value)
    if kind is str:
        return '"' + value + '"' if value.isprintable() and _is_bare(value) else None
    if kind is bool or value is None:
        return "null" if value is None else "true" if value else "false"
    if kind is int:
        return repr(value) if value.bit_length() < 64 else None
    if kind is float:
        return repr(value) if value - value == 0 else None
    if kind is list and len(value) <= _SMALL:
        texts = [_dump_small(item) for item in value]
        return None if None in texts else "[" + ", ".join(texts) + "]"
    if kind is dict and len(value) <= _SMALL:
        texts = []
        for key, item in value.items():
            key = _dump_small(key) if type(key) is str else None
            item = _dump_small(item)
            if key is None or item is None:
                return None
            texts.append(key + ": " + item)
        return "{" + ", ".join(texts) + "}"
    return None


def is_plain(value, path=()):
    """True where JSON gives the very same value back (but for NaN and lone surrogates)."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind not in _CONTAINERS or len(path) > MAX_DEPTH or id(value) in path:
        return False
    items = value
    if kind is dict:
        if value and set(map(type, value)) != {str}:
            return False
        items = value.values()
    kinds = set(map(type, items))
    if kinds <= _SCALARS:
        return True
    path = path + (id(value),)
    return all(type(item) in _SCALARS or is_plain(item, path) for item in items)


def decode(name, codec, text):
    """The argument `name`: `text` is JSON, or the path of an upstream output in that codec."""
    if codec == "":
        return loads(text)
    if codec == "json":
        with open(text, encoding="utf-8") as file:
            return loads(file.read())
    if codec == "pickle":
        return _unpickle(name, text)
    if codec == "parquet":
        return _read_parquet(text)
    if codec == "env":
        return os.environ[text]
    if codec == "list":
        return _read_list(name, text)
    return text  # a file of the user's own format: the function gets its path


def _read_list(name, path):
    """What the instances of a step gave, in their order: `0.json`, `1.pickle`… in a directory."""
    files = {}
    for file in os.listdir(path):
        number, _, codec = file.partition(".")
        files[int(number)] = (codec, os.path.join(path, file))
    return [decode(name, codec, file) if codec != "none" else None for _, (codec, file) in sorted(files.items())]


def _unpickle(name, path):
    pickle = _pickle()
    for _ in range(MAX_MISSING):
        try:
            with open(path, "rb") as file:
                return pickle.Unpickler(file).load()
        except Exception as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if not _find_module(missing):
                said = "{}: {}".format(type(error).__name__, error)
                raise StepError("argument {!r} cannot be unpickled: {}".format(name, said)) from error
    raise StepError("argument {!r}: its pickle needs too many modules that are not there".format(name))


def _pickle():
    try:
        import _pickle as pickle
    except ImportError:
        import pickle
    return pickle


def _find_module(name):
    """Puts the project's directory that holds `name` on the path: the class of a `file.py` target."""
    import sys

    if not name or "." in name:
        return False
    waiting = [os.getcwd()]
    for directory in waiting:  # breadth first: the shallowest wins
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:
            continue
        if directory not in sys.path and any(entry.name == name + ".py" for entry in entries):
            sys.path.append(directory)
            return True
        if len(waiting) < MAX_DIRECTORIES:
            waiting += [e.path for e in entries if e.name[0] != "." and e.is_dir(follow_symlinks=False)]
    return False


def _read_parquet(path):
    try:
        import pandas
    except ImportError:
        try:
            import polars
        except ImportError:
            raise StepError("a parquet input needs pandas or polars in the step's environment") from None
        return polars.read_parquet(path)
    return pandas.read_parquet(path)


def keep(result, request):
    """Writes outputs and metrics of the returned value."""
    outputs = request.outputs or [["result", "", ""]]
    count = len(outputs)
    if [pick for _, pick, _ in outputs] == ["[%d]" % i for i in range(count)]:
        _check_length(result, [name for name, _, _ in outputs])
    small = bytearray()
    for name, pick, codec in outputs:
        value = _pick(result, pick, "output", name)
        _write(value, name, codec, request.outputs_dir, small)
    _write_metrics(result, request)
    if small:
        _write_results(small, request.results_file)


def _check_length(result, names):
    wanted = "out: [{}]".format(", ".join(names))
    if isinstance(result, (str, bytes, dict)) or not hasattr(type(result), "__getitem__"):
        raise StepError(
            "{} needs a tuple of {}, but the function returned {}".format(wanted, len(names), describe(result))
        )
    if len(result) < len(names) or isinstance(result, tuple) and len(result) > len(names):
        raise StepError("{} needs {} values, but the function returned {}".format(wanted, len(names), len(result)))


def describe(value):
    """The type of a value in words."""
    return "None" if value is None else "a value of type " + type(value).__name__


def _pick(value, pick, what, name):
    for part in _parts(pick):
        try:
            value = _step_into(value, part)
        except (LookupError, TypeError, AttributeError, ValueError):
            has = ""
            if isinstance(value, dict):
                has = " with the keys " + ", ".join(str(key) for key in list(value)[:20])
            raise StepError(
                "{} {!r}: {} is not there; at {!r} is {}{}".format(what, name, pick, part, describe(value), has)
            ) from None
    return value


def _parts(pick):
    parts = []
    while pick:
        if pick[0] == "[":
            inner, bracket, pick = pick[1:].partition("]")
            if not bracket:
                raise StepError("not a path into a value: {!r}".format("[" + inner))
            parts.append(inner if inner[:1] not in "'\"" else inner[1:-1])
        else:
            pick = pick[1:] if pick[0] == "." else pick
            end = min((i for i in map(pick.find, ".[") if i >= 0), default=len(pick))
            parts.append(pick[:end])
            pick = pick[end:]
    return parts


def _step_into(value, part):
    if hasattr(type(value), "keys") and hasattr(type(value), "__getitem__"):
        try:
            return value[part]
        except KeyError:
            return value[int(part)]
    try:
        return value[int(part)]
    except (ValueError, TypeError):
        if part[:1] in ("", "_"):
            raise
        return getattr(value, part)


def _write_results(small, path):
    """Writes small outputs over whatever the file holds: one that is there costs less than a new one.

    It says where it lies, so that nobody takes it for another attempt's whose directory this becomes."""
    data = os.fsencode(path) + b"\0" + small + b"end\0"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while written < len(data):
            written += os.write(file, data[written:])
        os.ftruncate(file, len(data))
    finally:
        os.close(file)


def _write(value, name, codec, directory, small):
    if codec in ("", "json"):
        data = None
        try:
            if codec or is_plain(value):
                data = dumps(value).encode("utf-8")
        except (ValueError, TypeError, RecursionError) as error:
            if codec:
                raise StepError("output {!r}: not JSON: {}".format(name, error)) from None
        if data is not None:
            if len(small) + len(data) <= MAX_RESULTS:
                small += name.encode("utf-8") + b"\0" + data + b"\0"
                return
            with open(os.path.join(directory, name + ".json"), "wb") as file:
                file.write(data)
            return
    if codec in ("", "pickle"):
        _write_pickle(value, name, os.path.join(directory, name + ".pickle"))
    elif codec == "parquet":
        writer = getattr(value, "to_parquet", None) or getattr(value, "write_parquet", None)
        if writer is None:
            raise StepError("output {!r}: {} has no parquet form".format(name, describe(value)))
        writer(os.path.join(directory, name + ".parquet"))
    else:
        raise StepError("output {!r}: unknown codec {!r}; there are json, pickle, parquet".format(name, codec))


def _write_pickle(value, name, path):
    pickle = _pickle()
    try:
        with open(path, "wb") as file:
            pickle.Pickler(file, PROTOCOL).dump(value)
    except OSError:
        raise
    except Exception as error:
        os.unlink(path)
        raise StepError(
            "output {!r}: {} cannot be kept: {}. Return plain data or objects of classes at the top of a module, "
            "or write a file and return its path".format(name, describe(value), error)
        ) from None


def _write_metrics(result, request):
    points = []
    if request.metrics_given:
        for name, pick in request.metrics:
            value = _pick(result, pick, "metric", name)
            if number(value) is None and not isinstance(value, float):
                raise StepError("metric {!r}: {} is no number".format(name, describe(value)))
            points.append((name, value))
    elif hasattr(type(result), "keys") and hasattr(type(result), "items"):
        points = [(name, value) for name, value in result.items() if isinstance(name, str)]
    lines = []
    for name, value in points:
        value = number(value)
        if value is not None:
            lines.append(dumps({"name": name, "value": value}) + "\n")
    if lines:
        with open(request.metrics_file, "ab+") as file:
            if file.tell() and file.seek(-1, 2) is not None and file.read(1) != b"\n":
                lines.insert(0, "\n")
            file.write("".join(lines).encode("utf-8", "replace"))


def number(value):
    """The finite int or float that `value` is, also as a scalar of numpy or a tensor; else None."""
    if not isinstance(value, (int, float)):
        if getattr(type(value), "item", None) is None or getattr(value, "shape", None) != ():
            return None
        try:
            value = value.item()
        except Exception:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        if float(value) - float(value) != 0:
            return None
    except OverflowError:
        return None
    return int(value) if isinstance(value, int) else float(value)
