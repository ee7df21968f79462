"""What is said when a step fails."""
import os
import subprocess
import sys

from harness import Case


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
