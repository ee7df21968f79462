"""What the runner does to the interpreter, and what it leaves alone."""
import ast
import os
import subprocess
import sys

from harness import Case


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
