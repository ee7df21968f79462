"""Calls inside a function: recorded, set from outside, and otherwise invisible."""
import ast
import json
import os
import subprocess
import sys

from harness import Case


class Calls(Case):
    def test_outermost_calls_in_order_with_bound_arguments(self):
        self.write(
            f__py="""
                from lib import helpers
                from lib.helpers import scale as renamed
                import pathlib
                class Model: pass
                class Frame:
                    shape = (150, 5)
                def inner(n): return n
                def load(path="x", *rest, deep={}, **more):
                    inner(1)
                    return Frame()
                def bad(): raise KeyError("x")
                def gen():
                    yield 1
                async def later(): pass
                def go():
                    inner(inner(2))
                    load()
                    load(pathlib.Path("p"), 1, 2, deep=[1, 2, 3], a="y" * 300, b=None)
                    helpers.scale(load(), Model(), factor=2.5)
                    renamed((1,), {}, factor=float("inf"))
                    list(gen())
                    try:
                        bad()
                    except KeyError:
                        pass
                    return helpers.fact(5)
            """,
            lib_of___init____py="",
            lib_of_helpers__py="""
                def scale(a, b, *, factor): return a
                def fact(n): return 1 if n < 2 else n * fact(n - 1)
            """,
        )
        calls = self.step("f:go").calls
        frame = "Frame(150, 5)"
        self.assertEqual(
            [(c["function"], c["args"]) for c in calls],
            [
                ("inner", {"n": 2}),
                ("inner", {"n": 2}),
                ("load", {"path": "x", "deep": "dict(len=0)"}),
                ("load", {"path": "p", "deep": "list(len=3)", "*rest": "tuple(len=2)", "a": "str(len=300)", "b": None}),
                ("load", {"path": "x", "deep": "dict(len=0)"}),
                ("scale", {"a": frame, "b": "Model", "factor": 2.5}),
                ("scale", {"a": "tuple(len=1)", "b": "dict(len=0)", "factor": "inf"}),
                ("bad", {}),
                ("fact", {"n": 5}),
            ],
        )
        self.assertEqual(calls[-1]["module"], "lib.helpers")
        self.assertEqual(calls[-2]["error"], "KeyError")
        self.assertTrue(all(isinstance(c["seconds"], float) and "error" not in c for c in calls[:-2]))

    def test_overrides(self):
        self.write(
            f__py="""
                import functools
                from models import train as fit
                import models
                def twice(function):
                    @functools.wraps(function)
                    def wrapper(*args, **kwargs):
                        return function(*args, **kwargs)
                    return wrapper
                @twice
                def wrapped(a, b=1, *, c=2): return [a, b, c]
                def outer(): return models.train(1, 2)
                def gen(n):
                    yield n
                def go():
                    return [fit(1), fit(1, 5), models.train(data=0, n=7), wrapped(1, 2, c=3), outer(), models.down(3), list(gen(1))]
            """,
            models__py="""
                def train(data, n=100): return n
                def down(n): return [n] + (down(n - 1) if n else [])
            """,
        )
        overrides = [
            ["models", "train", "n", "200"],
            ["f", "wrapped", "a", '"A"'],
            ["f", "wrapped", "c", '["C"]'],
            ["models", "down", "n", "1"],
            ["f", "gen", "n", "9"],
        ]
        done = self.step("f:go", overrides=overrides)
        self.assertEqual(done.json(), [200, 200, 200, ["A", 2, ["C"]], 200, [1, 0], [9]])
        calls = done.calls
        self.assertEqual(calls[0]["args"], {"data": 1, "n": 200})
        self.assertEqual(calls[3]["args"], {"a": "A", "b": 2, "c": "list(len=1)"})
        self.assertEqual(sorted(r["set"] for r in done.lines("calls") if "set" in r), [0, 1, 2, 3, 4])
        self.assertEqual(self.step("f:go").json(), [100, 5, 7, [1, 2, 3], 2, [3, 2, 1, 0], [1]])

    def test_overrides_hold_in_threads_and_after_many_calls(self):
        self.write(
            f__py="""
                import threading
                def train(n): return n
                def go():
                    seen = []
                    threads = [threading.Thread(target=lambda: seen.append(train(1))) for _ in range(3)]
                    [t.start() for t in threads]
                    [t.join() for t in threads]
                    return [sorted(seen), sum(train(1) for _ in range(3000))]
            """
        )
        done = self.step("f:go", overrides=[["f", "train", "n", "2"]])
        self.assertEqual(done.json(), [[2, 2, 2], 6000])
        self.assertEqual(len(done.calls), 1000)

    def test_what_cannot_be_set_is_refused(self):
        self.write(f__py="def f(*a, **k): pass\ndef go(): f()\n")
        for name in ("a", "k", "z"):
            err = self.step("f:go", overrides=[["f", "f", name, "1"]], code=1).err
            self.assertIn("f has no argument '%s' that can be set" % name, err)

    def test_a_thousand_records_then_no_cost(self):
        self.write(
            f__py="""
                import dis, io
                def hot(n): return n
                def other(n): return n
                def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
                def wrap(function):
                    return lambda *a: function(*a)
                @wrap
                def decorated(n): return n
                inner = decorated.__closure__[0].cell_contents
                def go():
                    fib(20)
                    for i in range(1500): hot(i)
                    for i in range(1500): decorated(i)
                    other(1)
                    return [any("windlass" in n for n in f.__code__.co_names) for f in (hot, fib, inner, other)]
            """
        )
        done = self.step("f:go")
        self.assertEqual(done.json(), [False, False, False, True])
        self.assertEqual(len(done.calls), 1000)
        self.assertEqual(done.calls[0]["function"], "fib")

    def test_recursion_ends_where_it_would(self):
        self.write(
            f__py="""
                def down(n):
                    try:
                        return down(n + 1)
                    except RecursionError:
                        return n
                def endless(n): return endless(n)
                def go(limit):
                    depth = down(0)
                    return depth < limit and depth > limit - 60
                def fail(): endless(1)
            """
        )
        limit = sys.getrecursionlimit()
        self.assertIs(self.step("f:go", [["limit", "", str(limit)]]).json(), True)
        done = self.step("f:fail", code=1)
        self.assertIn("RecursionError: maximum recursion depth exceeded", done.err)
        self.assertNotIn("runner", done.err)
        self.assertEqual(done.failure["frames"][-1]["function"], "endless")

    def test_the_target_itself_is_not_recorded(self):
        self.write(impl__py="def go(n=3): return n and go(n - 1)\n", f__py="from impl import go\n")
        for target in ("impl:go", "f:go"):
            self.assertEqual(self.step(target).calls, [])

    def test_children_record_nothing(self):
        self.write(
            f__py="""
                import multiprocessing, os
                def work(n): return n * 2
                def here(): return 1
                def go():
                    totals = []
                    for method in ("fork", "spawn"):
                        with multiprocessing.get_context(method).Pool(2) as pool:
                            totals.append(pool.map(work, range(3)))
                    if os.fork() == 0:
                        here()
                        return "of the child"
                    os.wait()
                    here()
                    return totals
            """
        )
        done = self.step("f:go")
        self.assertEqual(done.json(), [[0, 2, 4], [0, 2, 4]])
        self.assertEqual([c["function"] for c in done.calls], ["here"])

    def test_nothing_visible_changes(self):
        self.write(
            f__py='''
                from __future__ import annotations
                import copy, doctest, inspect, pickle, sys
                COUNT = 0
                def doc(a: int, b: Missing = 2) -> Nothing:
                    """Adds.

                    >>> doc(1)
                    3
                    """
                    return a + b
                def only_doc():
                    """Nothing else."""
                def dots(): ...
                def names(a, b=1, *c, d=2, **e):
                    return sorted(locals())
                def counter():
                    global COUNT
                    COUNT += 1
                    n = 0
                    def up():
                        nonlocal n
                        n += 1
                        return n
                    return up
                def cell(x):
                    del_me = x
                    del del_me
                    return lambda: x
                def made():
                    class Base:
                        def f(self): return 1
                    class Child(Base):
                        def f(self): return super().f() + 1
                    return Child().f()
                def current():
                    try:
                        1 / 0
                    except ZeroDivisionError:
                        return sys.exc_info()[0].__name__
                def stack(): return [f.function for f in inspect.stack()][:2]
                def default(x=[]):
                    x.append(1)
                    return x
                if COUNT == 0:
                    def conditional(): return "yes"
                else:
                    def conditional(): return "no"
                @staticmethod
                def odd(): pass
                def lined(): return inspect.currentframe().f_lineno
                def go():
                    up = counter()
                    up()
                    default()
                    tests = doctest.testmod(sys.modules[__name__])
                    return {
                        "doc": doc.__doc__.splitlines()[0], "only": only_doc.__doc__, "result": [only_doc(), dots()],
                        "names": names(1), "up": up(), "count": COUNT, "cell": cell(4)(), "made": made(),
                        "exc": current(), "stack": stack(), "default": default(), "conditional": conditional(),
                        "same": pickle.loads(pickle.dumps(doc)) is doc, "copy": copy.deepcopy(doc) is doc,
                        "source": inspect.getsource(names), "line": inspect.getsourcelines(doc)[1], "lined": lined(),
                        "signature": str(inspect.signature(names)), "doctests": [tests.failed, tests.attempted],
                        "globals": sorted(n for n in globals() if "windlass" in n), "closure": doc.__closure__,
                        "vars": names.__code__.co_varnames, "qualname": doc.__qualname__, "ann": doc.__annotations__,
                        "outer": sys.exc_info()[0], "file": inspect.getfile(doc) == __file__,
                        "spec": __spec__.origin == __file__, "loader": __loader__.get_source(__name__)[:5],
                        "first": [f.__code__.co_firstlineno for f in (doc, dots, conditional, go)],
                    }
            '''
        )
        self.write(
            compare__py="""
                import json, sys
                sys.path.insert(0, %r)
                import f
                print(json.dumps(f.go()))
            """
            % self.project
        )
        plain = subprocess.check_output([sys.executable, os.path.join(self.project, "compare.py")])
        expected = json.loads(plain)
        expected["stack"][1] = "go"
        with open(os.path.join(self.project, "f.py")) as file:
            ast.parse(file.read())
        done = self.step("f:go", outputs=[["x", "", "json"]])
        self.assertEqual(done.json("x"), expected)

    def test_modules_that_compile_bytecode_are_left_alone(self):
        self.write(f__py="# uses numba\ndef a(): return a.__code__.co_names\ndef go(): return list(a())\n")
        done = self.step("f:go")
        self.assertEqual(done.json(), ["a", "__code__", "co_names"])
        self.assertEqual(done.calls, [])

    def test_values_that_refuse_to_be_looked_at(self):
        self.write(
            f__py="""
                class Angry:
                    def __len__(self): raise RuntimeError
                    @property
                    def shape(self): raise RuntimeError
                class Any:
                    def __getattr__(self, name): return self
                class Lazy:
                    shape = ("n", 2)
                def use(a, b, c, d, e): pass
                def go(): use(Angry(), Any(), Lazy(), go, int)
            """
        )
        args = self.step("f:go").calls[0]["args"]
        self.assertEqual(args, {"a": "Angry", "b": "Any", "c": "Lazy", "d": "go", "e": "int"})
