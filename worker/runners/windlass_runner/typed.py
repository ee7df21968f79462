"""Plain values to what a function's type hints ask for: dataclasses, pydantic models, enums, paths, dates.

Loaded only for functions whose hints name something else than JSON's own types.
"""
import dataclasses
import datetime
import enum
import pathlib
import typing

from .values import StepError

try:
    from types import UnionType as _UnionType  # 3.10
except ImportError:
    _UnionType = None

# Deepest nesting of hints that is followed.
MAX_DEPTH = 50


class Misfit(Exception):
    """A value is not what its hint says."""


def convert(function, arguments, plain):
    """Turns those arguments that came as JSON into what the hints of `function` say, in place."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        return  # hints that cannot be resolved say nothing
    for name in plain:
        if name in hints and name in arguments:
            try:
                arguments[name] = _to(hints[name], arguments[name], name, 0)
            except Misfit as misfit:
                raise StepError("argument {}".format(misfit)) from None


def _shape(value):
    if isinstance(value, dict):
        return "a mapping with the keys " + (", ".join(list(value)[:10]) or "of none")
    if isinstance(value, list):
        return "a list of {} items".format(len(value))
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _name(hint):
    return getattr(hint, "__name__", None) or str(hint)


def _misfit(place, hint, value):
    return Misfit("`{}` must be {}, got {}".format(place, _name(hint), _shape(value)))


def _to(hint, value, place, depth):
    if depth > MAX_DEPTH or hint is typing.Any or hint is object:
        return value
    origin = getattr(hint, "__origin__", None)
    if origin is typing.Union or (_UnionType is not None and isinstance(hint, _UnionType)):
        return _to_any(hint.__args__, value, place, depth)
    if origin is not None:
        return _to_generic(hint, origin, value, place, depth)
    if not isinstance(hint, type):
        return value
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    return _to_class(hint, value, place, depth)


def _to_any(hints, value, place, depth):
    if value is None and type(None) in hints:
        return None
    first = None
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return _to(hint, value, place, depth + 1)
        except Misfit as misfit:
            first = first or misfit
    raise first or _misfit(place, hints, value)


def _to_generic(hint, origin, value, place, depth):
    args = getattr(hint, "__args__", ())
    if str(hint).startswith("typing.Literal"):
        if any(value == known and type(value) is type(known) for known in args):
            return value
        raise Misfit("`{}` must be one of {}, got {}".format(place, ", ".join(map(repr, args)), _shape(value)))
    if str(hint).startswith("typing.Annotated"):
        return _to(origin, value, place, depth + 1)
    if not isinstance(origin, type):
        return value
    if isinstance(value, list) and issubclass(origin, tuple):
        inner = args if len(args) != 2 or args[1] is not Ellipsis else (args[0],) * len(value)
        if len(inner) != len(value):
            raise Misfit("`{}` must have {} items, got {}".format(place, len(inner), _shape(value)))
        items = zip(range(len(value)), inner, value)
        return tuple(_to(kind, item, "{}[{}]".format(place, i), depth + 1) for i, kind, item in items)
    if isinstance(value, list) and args and not issubclass(origin, dict):
        items = [_to(args[0], item, "{}[{}]".format(place, i), depth + 1) for i, item in enumerate(value)]
        if issubclass(origin, (set, frozenset)):
            return origin(items)
        return items
    if isinstance(value, dict) and len(args) == 2 and issubclass(dict, origin):
        return {key: _to(args[1], item, "{}.{}".format(place, key), depth + 1) for key, item in value.items()}
    return value


def _to_class(hint, value, place, depth):
    if dataclasses.is_dataclass(hint):
        return _to_dataclass(hint, value, place, depth)
    validate = getattr(hint, "model_validate", None) or (hasattr(hint, "__fields__") and getattr(hint, "parse_obj", None))
    if validate:
        try:
            return validate(value)
        except ValueError as error:
            raise Misfit("`{}`: {}".format(place, error)) from None
    if issubclass(hint, enum.Enum):
        for member in hint:
            if member.value == value or member.name == value:
                return member
        known = ", ".join(repr(member.value) for member in hint)
        raise Misfit("`{}` must be one of {}, got {}".format(place, known, _shape(value)))
    if isinstance(value, str):
        if issubclass(hint, pathlib.PurePath):
            return hint(value)
        if issubclass(hint, (datetime.date, datetime.time)):
            try:
                return hint.fromisoformat(value)
            except ValueError as error:
                raise Misfit("`{}`: {}".format(place, error)) from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _to_dataclass(hint, value, place, depth):
    if not isinstance(value, dict):
        raise _misfit(place, hint, value)
    fields = {field.name: field for field in dataclasses.fields(hint) if field.init}
    for name in value:
        if name not in fields:
            raise Misfit("`{}`: {} has no field `{}`; it has {}".format(place, _name(hint), name, ", ".join(fields)))
    for name, field in fields.items():
        bare = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if bare and name not in value:
            raise Misfit("`{}`: the field `{}` of {} is missing".format(place, name, _name(hint)))
    try:
        hints = typing.get_type_hints(hint)
    except Exception:
        hints = {}
    given = {
        name: _to(hints.get(name, typing.Any), item, "{}.{}".format(place, name), depth + 1)
        for name, item in value.items()
    }
    try:
        return hint(**given)
    except (TypeError, ValueError) as error:
        raise Misfit("`{}`: {}".format(place, error)) from None
