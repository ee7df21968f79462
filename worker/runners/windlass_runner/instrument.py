"""Rewrites the functions of a project module so that `watch` sees their calls."""
import _ast
import gc
import os
import sys

from . import watch
from .values import StepError


def compile_module(loader, source, path, variant, overrides):
    """Code of the module, rewritten as `variant` says; as it is where that is not possible."""
    if variant:
        try:
            tree = compile(source, path, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
        except Exception:
            pass  # its own error comes from the ordinary way below
        else:
            try:
                _Rewriter(source, variant, overrides).rewrite(tree)
                return compile(tree, path, "exec", dont_inherit=True)
            except StepError:
                raise
            except Exception as error:
                if overrides:
                    name = sorted(overrides)[0]
                    raise StepError("cannot set arguments of {} from outside: {}".format(name, error)) from None
    return loader.source_to_code(source, path)


def store(path, code):
    """Keeps compiled code for the next step; without it the next one compiles again."""
    import marshal

    part = "{}.{}".format(path, os.getpid())
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(part, "wb") as file:
            file.write(marshal.dumps(code))
        os.replace(part, path)
    except (OSError, ValueError):
        pass


class _Rewriter:
    def __init__(self, source, variant, overrides):
        watched, self.spared, _ = variant.split(" ", 2)
        self.watched = watched == "1"
        self.overrides = overrides
        self.may_yield = b"yield" in source

    def rewrite(self, node):
        for child in node.body:
            if isinstance(child, (_ast.FunctionDef, _ast.AsyncFunctionDef)):
                self._function(child)
            elif isinstance(child, (_ast.If, _ast.Try)):
                self.rewrite(child)
        for part in getattr(node, "handlers", ()):
            self.rewrite(part)
        for name in ("orelse", "finalbody"):
            if getattr(node, name, None):
                self.rewrite(_ast.Module(body=getattr(node, name), type_ignores=[]))

    def _function(self, node):
        overrides = self.overrides.get(node.name, ())
        plain = isinstance(node, _ast.FunctionDef) and not (self.may_yield and _yields(node.body))
        watched = plain and self.watched and node.name != self.spared and not node.name.startswith("__")
        # A call of itself is told by the block, so that only the outer one is set.
        watched = watched or plain and bool(overrides)
        if not (watched or overrides):
            return
        doc = node.body[0]
        has_doc = isinstance(doc, _ast.Expr) and isinstance(getattr(doc.value, "value", None), str)
        head, body = (node.body[:1], node.body[1:]) if has_doc else ([], node.body)
        first = (body or head)[0]
        at = {"lineno": first.lineno, "col_offset": first.col_offset}
        if isinstance(first, (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef)) and first.decorator_list:
            at["lineno"] = first.decorator_list[0].lineno
        at["end_lineno"], at["end_col_offset"] = at["lineno"], at["col_offset"]
        if overrides:
            head = head + [self._setting(node, overrides, at)]
        if watched:
            call = _call(watch.HOOK, _names(node.args), at)
            body = [_ast.With(items=[_ast.withitem(context_expr=call)], body=body or [_ast.Pass(**at)], **at)]
        node.body = head + body

    def _setting(self, node, overrides, at):
        known = [a.arg for a in getattr(node.args, "posonlyargs", []) + node.args.args + node.args.kwonlyargs]
        names = [name for name, _, _ in overrides]
        for name in names:
            if name not in known:
                raise StepError("{} has no argument {!r} that can be set".format(node.name, name))
        targets = _ast.Tuple(
            elts=[_ast.Name(id=name, ctx=_ast.Store(), **at) for name in names], ctx=_ast.Store(), **at
        )
        return _ast.Assign(targets=[targets], value=_call(watch.SETTER, names, at), **at)


def _names(args):
    named = getattr(args, "posonlyargs", []) + args.args + args.kwonlyargs
    return [a.arg for a in named + [a for a in (args.vararg, args.kwarg) if a]]


def _call(hook, names, at):
    load = _ast.Load()
    args = [_ast.Name(id=name, ctx=load, **at) for name in names]
    return _ast.Call(func=_ast.Name(id=hook, ctx=load, **at), args=args, keywords=[], **at)


def _yields(body):
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (_ast.Yield, _ast.YieldFrom)):
            return True
        if isinstance(node, (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef, _ast.Lambda)):
            continue
        for name in node._fields:
            child = getattr(node, name, None)
            if isinstance(child, _ast.AST):
                waiting.append(child)
            elif isinstance(child, list):
                waiting += [item for item in child if isinstance(item, _ast.AST)]
    return False


def retire(site, namespace):
    """Gives a function that is called often its own code back, so that it costs nothing more."""
    try:
        code = site.code
        module = sys.modules[site.module]
        source = module.__loader__.get_data(code.co_filename)
        whole = compile(source, code.co_filename, "exec", dont_inherit=True)
        same = [
            c
            for c in whole.co_consts
            if type(c) is type(code)
            and (c.co_name, c.co_firstlineno, c.co_varnames) == (code.co_name, code.co_firstlineno, code.co_varnames)
        ]
        for function in _functions(code, namespace) if len(same) == 1 else ():
            function.__code__ = same[0]
    except Exception:
        pass  # it goes on being watched


def _functions(code, namespace):
    function = namespace.get(code.co_name)
    if getattr(function, "__code__", None) is code:
        return [function]
    kind = type(retire)
    return [f for f in gc.get_referrers(code) if type(f) is kind and f.__code__ is code]
