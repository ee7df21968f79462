"""What becomes of the returned value."""
import json
import os
import sys

from harness import Case


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

    def test_small_outputs_share_a_file_that_is_written_over(self):
        self.write(
            f__py="""
                import os
                def go():
                    with open(os.environ["RESULTS"], "w") as file:
                        file.write("longer than what comes after it, and of an earlier step")
                    return 1, "x" * 70000, "é\\0"
            """
        )
        results = os.path.join(self.place, "io1", "results")
        outs = [["a", "[0]", ""], ["b", "[1]", ""], ["c", "[2]", ""]]
        done = self.step("f:go", outputs=outs, env={"RESULTS": results})
        self.assertEqual(done.results, {"a": "1", "c": '"é\\u0000"'})
        self.assertEqual(os.listdir(os.path.join(done.io, "outputs")), ["b.json"])
        self.assertEqual(len(done.json("b")), 70000)

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
        self.assertIn("windlass: argument 'm' cannot be unpickled: ModuleNotFoundError: No module named 'make'", err)
        self.assertNotIn("Traceback", err)
        self.write(make__py="class M: pass\nraise OSError('broken')\n")
        err = self.step("use:use", [["m", "pickle", done.path("result.pickle")]], code=1).err
        self.assertIn("make.py\", line 2", err)
        self.assertIn("windlass: argument 'm' cannot be unpickled: OSError: broken", err)

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
