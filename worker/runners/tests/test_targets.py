"""Which function runs, with which arguments."""
import os
import sys

from harness import Case


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

    def test_packages_without_init(self):
        self.write(ns_of_mod__py="def help(): return 1\ndef go(): return help()\n", f__py="import ns.mod\ndef go(): return ns.mod.go()\n")
        self.assertEqual(self.step("ns.mod:go").json(), 1)
        self.assertEqual([c["module"] for c in self.step("f:go").calls], ["ns.mod"])

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
