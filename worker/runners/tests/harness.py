"""Runs steps as a worker does, under the interpreter that runs the tests."""
import json
import os
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
    def results(self):
        """Small outputs: name to JSON text."""
        try:
            path = os.path.join(self.io, "results")
            with open(path, encoding="utf-8") as file:
                own, *fields, end, empty = file.read().split("\0")
        except FileNotFoundError:
            return {}
        assert (own, end, empty) == (path, "end", ""), fields
        return dict(zip(fields[::2], fields[1::2]))

    @property
    def outputs(self):
        files = os.listdir(os.path.join(self.io, "outputs"))
        return sorted(files + [name + ".json" for name in self.results])

    def path(self, name):
        """A file with that output, as the worker gives one to a later step."""
        path = os.path.join(self.io, "outputs", name)
        text = self.results.get(name[: -len(".json")]) if name.endswith(".json") else None
        if text is not None and not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return path

    def json(self, name="result"):
        if name in self.results:
            return json.loads(self.results[name])
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

        fields = [target, self.project] + [os.path.join(io, n) for n in ("outputs", "metrics", "calls", "failure", "results")]
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
