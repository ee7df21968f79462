"""What the runner promises, under the interpreter that runs this file: `python test_runner.py`."""
import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

RUNNERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Longest that a step of these tests may take, in seconds.
LIMIT = 60


class Done:
    """A step that has ended."""

    def __init__(self, process, io):
        self.code = process.returncode
        self.out = process.stdout.decode()
        self.err = process.stderr.decode()
        self.io = io

    def lines(self, name):
        try:
            with open(os.path.join(self.io, name), encoding="utf-8") as file:
                return [json.loads(line) for line in file]
        except FileNotFoundError:
            return []

    @property
    def calls(self):
        return [record for record in self.lines("calls") if "function" in record]

    @property
    def metrics(self):
        return {point["name"]: point["value"] for point in self.lines("metrics")}

    @property
    def failure(self):
        return self.lines("failure")[0]

    @property
    def outputs(self):
        return sorted(os.listdir(os.path.join(self.io, "outputs")))

    def path(self, name):
        return os.path.join(self.io, "outputs", name)

    def json(self, name="result"):
        with open(self.path(name + ".json"), encoding="utf-8") as file:
            return json.load(file)


class Case(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="windlass-step-")
        cls.runner = os.path.join(cls.top, "runner")
        os.mkdir(cls.runner)
        shutil.copytree(os.path.join(RUNNERS, "windlass_runner"), os.path.join(cls.runner, "windlass_runner"))
        shutil.copy(os.path.join(RUNNERS, "windlass_bundle.py"), cls.runner)
        with open(os.path.join(RUNNERS, "bootstrap.py")) as file:
            cls.bootstrap = file.read()
        cls.count = 0

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top)

    def setUp(self):
        type(self).count += 1
        self.place = os.path.join(self.top, str(self.count))
        self.project = os.path.join(self.place, "project")
        os.makedirs(self.project)
        self.steps = 0

    def write(self, **files):
        for name, text in files.items():
            path = os.path.join(self.project, name.replace("__", ".").replace("_of_", "/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(text))

    def step(self, target, args=(), outputs=(), metrics=None, overrides=(), code=0, env=None):
        self.steps += 1
        io = os.path.join(self.place, "io%d" % self.steps)
        os.makedirs(os.path.join(io, "outputs"))

        def many(rows):
            rows = [list(row) for row in rows]
            return [str(len(rows))] + [text for row in rows for text in row]

        fields = [target, self.project] + [os.path.join(io, n) for n in ("outputs", "metrics", "calls", "failure")]
        fields += many(args) + many(outputs) + ["0" if metrics is None else "1"] + many(metrics or ())
        fields += many(overrides)
        request = os.path.join(io, "request")
        with open(request, "w", encoding="utf-8") as file:
            file.write("".join(field + "\0" for field in fields))
        process = subprocess.run(
            [sys.executable, "-c", self.bootstrap, self.runner, request],
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=LIMIT,
            env=dict(os.environ, **(env or {})),
        )
        done = Done(process, io)
        if code is not None:
            self.assertEqual(done.code, code, done.err)
        return done


class Targets(Case):
    def test_module_file_package_src_and_method(self):
        self.write(
            f__py="""
                import sys
                def go(a, b=2): return [a, b, __name__, sys.argv, sys.path[0]]
                class K:
                    @staticmethod
                    def make(a): return a
                if __name__ == "__main__": raise SystemExit(9)
            """,
            pkg_of_mod__py="from . import other\ndef go(): return other.X\n",
            pkg_of_other__py="X = 5\n",
            pkg_of___init____py="",
            src_of_lib_of_deep__py="def go(): return __name__\n",
            deep_of_job__py="import near\nimport f\ndef go(): return [near.Y, __name__, f.__name__]\n",
            deep_of_near__py="Y = 6\n",
        )
        got = self.step("f:go", [["a", "", "1"]]).json()
        self.assertEqual(got, [1, 2, "f", ["f:go"], self.project])
        self.assertEqual(self.step("f:K.make", [["a", "", '{"x": [1.5, null, "é"]}']]).json(), {"x": [1.5, None, "é"]})
        self.assertEqual(self.step("pkg.mod:go").json(), 5)
        self.assertEqual(self.step("lib.deep:go").json(), "lib.deep")
        self.assertEqual(self.step("deep/job.py:go").json(), [6, "job", "f"])
        found = [name for _, names, files in os.walk(self.project) for name in names + files]
        self.assertNotIn("__pycache__", found)

    def test_names_of_pythons_own_modules(self):
        self.write(os__py="def go(): return 'mine'\n", time__py="def go(): return 'mine too'\n")
        self.assertEqual(self.step("os.py:go").json(), "mine")
        self.assertEqual(self.step("time:go").json(), "mine too")

    def test_missing_things_are_named(self):
        self.write(f__py="x = 1\n", bad__py="def f(:\n")
        self.assertIn("No module named 'nope'", self.step("nope:go", code=1).err)
        self.assertIn("f has no function 'go'", self.step("f:go", code=1).err)
        self.assertIn("f:x is no function", self.step("f:x", code=1).err)
        err = self.step("bad:go", code=1).err
        self.assertIn("SyntaxError", err)
        self.assertIn('bad.py", line 1', err)
        self.assertNotIn("Traceback", err)

    def test_arguments_by_position_and_star(self):
        self.write(
            f__py="""
                import functools
                def pos(a, b=2, /, c=3, *rest, d=4, **more): return [a, b, c, list(rest), d, more]
                @functools.lru_cache()
                def wrapped(a, /): return a
            """
        )
        args = [["a", "", "1"], ["d", "", "0"], ["rest", "", "[7, 8]"], ["b", "", "5"], ["c", "", "6"], ["z", "", "9"]]
        self.assertEqual(self.step("f:pos", args).json(), [1, 5, 6, [7, 8], 0, {"z": 9}])
        self.assertEqual(self.step("f:pos", [["a", "", "1"]]).json(), [1, 2, 3, [], 4, {}])
        self.assertEqual(self.step("f:wrapped", [["a", "", "-3"]]).json(), -3)

    def test_coroutines_are_awaited_and_generators_named(self):
        self.write(
            f__py="""
                import asyncio
                async def go(n):
                    await asyncio.sleep(0)
                    return n
                def items():
                    yield 1
            """
        )
        self.assertEqual(self.step("f:go", [["n", "", "3"]]).json(), 3)
        err = self.step("f:items", code=1).err
        self.assertIn("generator", err)
        self.assertIn("list", err)


class Outputs(Case):
    def test_json_only_where_it_loses_nothing(self):
        self.write(
            f__py="""
                import collections, enum, math
                class Str(str): pass
                class Color(enum.IntEnum): RED = 1
                def deep(n):
                    value = []
                    for _ in range(n): value = [value]
                    return value
                cyclic = []
                cyclic.append(cyclic)
                VALUES = {
                    "json": [None, True, 0, -1, 2**200, 1.5, -0.0, 1e300, "", "é\\n\\"\\\\\\x00", [], {}, [[1], {"a": {}}],
                             list(range(100)), {str(i): i for i in range(100)}, deep(90)],
                    "pickle": [(1, 2), {1: 2}, {1, 2}, float("nan"), [math.inf], b"x", "\\ud800", [Str("x")],
                               {"a": Color.RED}, collections.OrderedDict(a=1), 1j, [[(1,)]], cyclic, deep(150), {None: 1},
                               [1] * 50 + [float("inf")]],
                }
                def check(kind, i): return VALUES[kind][i]
                def back(x, kind, i):
                    try:
                        assert repr(x) == repr(VALUES[kind][i]) and type(x) is type(VALUES[kind][i]), x
                    except RecursionError:
                        pass
                    return True
            """
        )
        sys.path.insert(0, self.project)
        self.write(
            every__py="""
                import f, sys
                def write():
                    return [f.check(kind, i) for kind in f.VALUES for i in range(len(f.VALUES[kind]))]
            """
        )
        import f

        counts = {kind: len(found) for kind, found in f.VALUES.items()}
        names = [(kind, "%s%d" % (kind, i)) for kind in counts for i in range(counts[kind])]
        done = self.step("every:write", outputs=[[name, "[%d]" % i, ""] for i, (_, name) in enumerate(names)])
        self.assertEqual(done.outputs, sorted(name + "." + kind for kind, name in names))
        for kind, name in names:
            args = [["x", kind, done.path(name + "." + kind)], ["kind", "", '"%s"' % kind], ["i", "", name[len(kind) :]]]
            if name[len(kind) :] in ("8", "9", "6", "12", "0"):
                self.step("f:back", args)
            elif kind == "json":
                with open(done.path(name + ".json"), encoding="utf-8") as file:
                    self.assertEqual(repr(json.load(file)), repr(f.VALUES[kind][int(name[len(kind) :])]))

    def test_tuples_and_picks(self):
        self.write(
            f__py="""
                import collections
                P = collections.namedtuple("P", "x y")
                def three(): return 1, {2}, [3]
                def one(): return 5
                def tree(): return {"a": {"b": [10, {"c": 20}]}, 3: "three", "dotted.key": 4, "p": P(7, 8)}
            """
        )
        done = self.step("f:three", outputs=[["a", "[0]", ""], ["b", "[1]", ""], ["c", "[2]", ""]])
        self.assertEqual(done.outputs, ["a.json", "b.pickle", "c.json"])
        picks = [["b", ".a.b[1].c", ""], ["i", ".a.b.0", ""], ["k", ".3", ""], ["d", "['dotted.key']", ""], ["y", ".p.y", ""]]
        done = self.step("f:tree", outputs=picks)
        self.assertEqual([done.json(n) for n in "bikdy"], [20, 10, "three", 4, 8])
        two = [["a", "[0]", ""], ["b", "[1]", ""]]
        self.assertIn("out: [a, b] needs 2 values, but the function returned 3", self.step("f:three", outputs=two, code=1).err)
        self.assertIn("out: [a, b] needs a tuple of 2", self.step("f:one", outputs=two, code=1).err)
        err = self.step("f:tree", outputs=[["x", ".a.nope", ""]], code=1).err
        self.assertIn("output 'x': .a.nope is not there", err)
        self.assertIn("keys b", err)

    def test_codecs(self):
        self.write(
            f__py="""
                import threading
                class Frame:
                    def to_parquet(self, path): open(path, "w").write("frame")
                def frame(): return Frame()
                def pair(): return (1, 2)
                def lock(): return threading.Lock()
                def local(): return lambda: 1
                def path(p): return open(p).read()
            """
        )
        self.assertEqual(self.step("f:frame", outputs=[["x", "", "parquet"]]).outputs, ["x.parquet"])
        self.assertEqual(self.step("f:pair", outputs=[["x", "", "json"]]).json("x"), [1, 2])
        self.assertEqual(self.step("f:pair", outputs=[["x", "", "pickle"]]).outputs, ["x.pickle"])
        self.assertIn("not JSON", self.step("f:lock", outputs=[["x", "", "json"]], code=1).err)
        self.assertIn("no parquet form", self.step("f:pair", outputs=[["x", "", "parquet"]], code=1).err)
        self.assertIn("unknown codec 'nope'", self.step("f:pair", outputs=[["x", "", "nope"]], code=1).err)
        for name in ("lock", "local"):
            done = self.step("f:" + name, outputs=[["model", "", ""]], code=1)
            self.assertIn("output 'model'", done.err)
            self.assertIn("cannot be kept", done.err)
            self.assertEqual(done.outputs, [])
            self.assertNotIn("Traceback", done.err)
        self.write(table__csv="1,2\n")
        self.assertEqual(self.step("f:path", [["p", "csv", os.path.join(self.project, "table.csv")]]).json(), "1,2\n")

    def test_objects_of_a_file_target_travel(self):
        self.write(
            code_of_make__py="class M:\n    n = 3\ndef make(): return M()\n",
            use__py="def use(m): return [m.n, type(m).__module__]\n",
        )
        done = self.step("code/make.py:make")
        self.assertEqual(self.step("use:use", [["m", "pickle", done.path("result.pickle")]]).json(), [3, "make"])
        os.unlink(os.path.join(self.project, "code", "make.py"))
        err = self.step("use:use", [["m", "pickle", done.path("result.pickle")]], code=1).err
        self.assertIn("No module named 'make'", err)

    def test_metrics(self):
        self.write(
            f__py="""
                class Scalar:
                    shape = ()
                    def item(self): return 0.25
                class Array(Scalar):
                    shape = (1,)
                class F(float): pass
                def go():
                    return {"a": 1, "b": 0.5, "c": True, "d": "x", "e": float("nan"), "f": Scalar(), "g": Array(),
                            "h": F(2.5), 3: 4, "i": 10**400, "j": {"k": 7}, "é": 8}
                def plain(): return 5
            """
        )
        self.assertEqual(self.step("f:go").metrics, {"a": 1, "b": 0.5, "f": 0.25, "h": 2.5, "é": 8})
        self.assertEqual(self.step("f:go", metrics=[["deep", ".j.k"], ["nan", ".e"]]).metrics, {"deep": 7})
        self.assertEqual(self.step("f:go", metrics=[]).metrics, {})
        self.assertEqual(self.step("f:plain", metrics=[["it", ""]]).metrics, {"it": 5})
        err = self.step("f:go", metrics=[["word", ".d"]], code=1).err
        self.assertIn("metric 'word': a value of type str is no number", err)


class Failures(Case):
    def traceback(self, text, *args, **more):
        """Asserts that go() in f.py fails as under plain Python, but for the frame of the caller."""
        self.write(f__py=text, plain__py=self.PLAIN)
        plain = subprocess.run(
            [sys.executable, os.path.join(self.project, "plain.py")],
            cwd=self.project,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"),
        )
        done = self.step("f:go", *args, code=plain.returncode, **more)
        self.assertEqual(done.err, plain.stderr.decode())
        self.assertNotIn("runner", done.err)
        return done

    PLAIN = """
        import sys
        def hook(kind, error, traceback):
            error.__traceback__ = traceback.tb_next
            sys.__excepthook__(kind, error, error.__traceback__)
        sys.excepthook = hook
        import f
        f.go()
    """

    def test_traceback_is_pythons_own(self):
        done = self.traceback(
            """
            import sys
            def helper(x):
                "doc"
                return (1 /
                        x)
            def go(x=0):
                print("before")
                return helper(x)
            """
        )
        self.assertEqual(done.out, "before\n")
        failure = done.failure
        self.assertEqual((failure["type"], failure["message"]), ("ZeroDivisionError", "division by zero"))
        self.assertEqual([f["function"] for f in failure["frames"]], ["go", "helper"])
        self.assertEqual(failure["frames"][0]["file"], "f.py")
        self.assertEqual(failure["frames"][0]["source"], "return helper(x)")
        self.assertEqual(done.calls[0]["error"], "ZeroDivisionError")

    def test_chains_groups_and_recursion(self):
        self.traceback(
            """
            def a():
                try:
                    {}["k"]
                except KeyError as error:
                    raise ValueError("second") from error
            def go():
                try:
                    a()
                except ValueError:
                    with open("/nope/nope"):
                        pass
            """
        )
        if sys.version_info >= (3, 11):
            self.traceback(
                """
                def a(): raise KeyError("x")
                def go():
                    errors = []
                    try:
                        a()
                    except KeyError as error:
                        errors.append(error)
                    raise ExceptionGroup("many", errors)
                """
            )

    def test_errors_at_import(self):
        self.write(g__py="def f(:\n")
        self.traceback("import g\n")
        self.write(g__py="X = 1\nraise OSError('in g')\n")
        self.traceback("import g\n")
        done = self.traceback("import nowhere_to_be_found\n")
        self.assertEqual(done.failure["missing"], "nowhere_to_be_found")
        done = self.traceback("def go(): open('data/x.csv')\n")
        self.assertEqual(done.failure["missing"], "data/x.csv")

    def test_exits(self):
        self.write(
            f__py="""
                import os, signal, sys
                def code(n): sys.exit(n)
                def interrupt(): raise KeyboardInterrupt
                def leave(): os._exit(3)
                def hook():
                    sys.excepthook = lambda kind, error, tb: print("hooked", kind.__name__, tb.tb_frame.f_code.co_name)
                    raise ValueError
                class Strange(Exception):
                    def __str__(self): raise RuntimeError
                def strange(): raise Strange
            """
        )
        self.assertEqual(self.step("f:code", [["n", "", "null"]]).json(), None)
        self.assertEqual(self.step("f:code", [["n", "", "0"]]).json(), None)
        self.assertEqual(self.step("f:code", [["n", "", "7"]], code=7).err, "")
        self.assertEqual(self.step("f:code", [["n", "", '"bye"']], code=1).err, "bye\n")
        self.assertEqual(self.step("f:interrupt", code=None).code, -2)
        self.assertEqual(self.step("f:leave", code=3).outputs, [])
        self.assertEqual(self.step("f:hook", code=1).out, "hooked ValueError hook\n")
        self.assertEqual(self.step("f:strange", code=1).failure["type"], "Strange")


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


class Surroundings(Case):
    def test_compiled_code_is_kept_whatever_the_environment_says(self):
        self.write(f__py="def helper(n): return n\ndef go(): return helper(4)\n")
        env = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/nowhere"}
        first = self.step("f:go", env=env)
        kept = [n for n in os.listdir(self.runner) if n.endswith(".bin")]
        self.assertEqual(len(kept), 1)
        again = self.step("f:go", env=env)
        self.assertEqual([c["args"] for c in first.calls + again.calls], [{"n": 4}] * 2)
        self.write(f__py="def helper(n): return n\ndef go(): return helper(5)\n")
        self.assertEqual(self.step("f:go", env=env).json(), 5)

    def test_a_broken_cache_is_built_again(self):
        self.write(f__py="def helper(n): return n\ndef go(): return helper(4)\n")
        self.step("f:go")
        for place, _, files in os.walk(self.runner):
            for name in files:
                if name.endswith(".bin") or "/code/" in place:
                    with open(os.path.join(place, name), "wb") as file:
                        file.write(b"broken")
        self.assertEqual(self.step("f:go").json(), 4)

    def test_heavy_modules_stay_out(self):
        self.write(
            f__py="""
                import sys
                def go():
                    heavy = ("re", "json", "inspect", "typing", "traceback", "asyncio", "importlib.metadata", "pickle", "ast", "_json")
                    return [name for name in heavy if name in sys.modules]
            """
        )
        import_site = "import sys; print([n for n in (%s) if n in sys.modules])"
        names = '"re", "json", "inspect", "typing", "traceback", "asyncio", "importlib.metadata", "pickle", "ast", "_json"'
        plain = ast.literal_eval(subprocess.check_output([sys.executable, "-c", import_site % names]).decode())
        self.assertEqual(self.step("f:go").json(), plain)

    def test_output_is_line_buffered(self):
        self.write(f__py="import os\ndef go():\n    print('line')\n    os._exit(0)\n")
        self.assertEqual(self.step("f:go", env={"PYTHONUNBUFFERED": ""}).out, "line\n")


if __name__ == "__main__":
    unittest.main()
