#!/usr/bin/env python3
"""Prints the speed rows of docs/benchmarks.md: `python3 scripts/bench.py [ROW]...`. Standard library only.

Both sides of a ratio are timed interleaved in one run; the figure is the median of PAIRS pairs. Needs a release build
(`cargo build --release -p windlass`), `make` and `xargs`. Everything lives in a temporary home and is gone afterwards.
"""
import calendar
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
BIN = os.environ.get("WINDLASS", str(TOP / "target/release/windlass"))
PAIRS = int(os.environ.get("PAIRS", "7"))
PYTHON = subprocess.run(["python3", "-c", "import sys; print(sys.executable)"], capture_output=True, text=True).stdout.strip()
ROWS = {}


def row(number, what, must):
    def keep(function):
        ROWS[number] = (what, must, function)
        return function
    return keep


class World:
    """A home and a project, with a daemon running."""

    def __init__(self, warm=True):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="wlb-", dir=os.environ.get("BENCH_DIR", "/tmp")))
        self.project = self.top / "p"
        self.project.mkdir()
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("WINDLASS", "XDG_"))}
        path = os.path.dirname(PYTHON) + ":" + keep["PATH"]  # the interpreter itself, not a shim of it
        self.env = {**keep, "WINDLASS_HOME": str(self.top / "h"), "XDG_CONFIG_HOME": str(self.top / "c"), "PATH": path}
        if warm:
            self.put("warm.yaml", "version: 1\nsteps:\n  a: {run: [sh, -c, 'true']}\n")
            self.w("run", "warm.yaml", "--json")

    def put(self, name, text):
        target = self.project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def w(self, *args, check=True):
        done = subprocess.run([BIN, *args], cwd=self.project, env=self.env, capture_output=True, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise SystemExit(f"windlass {' '.join(args)}: exit {done.returncode}\n{done.stderr.decode()[-2000:]}")
        return done.stdout

    def timed(self, *args):
        start = time.perf_counter()
        out = self.w(*args)
        return time.perf_counter() - start, out

    def pid(self, what):
        if what == "daemon":
            return json.loads(self.w("daemon", "status", "--json"))["pid"]
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if what.encode() in words[1:2] and str(self.top).encode() in b" ".join(words) + (entry / "environ").read_bytes():
                        return int(entry.name)
        raise SystemExit(f"no {what} process")

    def close(self):
        self.w("daemon", "stop", check=False)
        for _ in range(100):
            if not shutil.rmtree(self.top, ignore_errors=True) and not self.top.exists():
                break
            time.sleep(0.05)


@contextlib.contextmanager
def world(**kw):
    made = World(**kw)
    try:
        yield made
    finally:
        made.close()


def shell(command, cwd="/tmp"):
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


def pairs(ours, theirs, count=None):
    """Medians of both sides, timed turn about after one warm-up."""
    ours(), theirs()
    both = [(ours(), theirs()) for _ in range(count or PAIRS)]
    return statistics.median(a for a, _ in both), statistics.median(b for _, b in both)


def chain(count, body="run: [sh, -c, 'true']"):
    return "version: 1\nsteps:\n" + "".join(f"  s{i}: {{{body}}}\n" for i in range(count))


def fan(count, body="run: [sh, -c, 'true']"):
    return chain(count, body).replace("steps:", "order: graph\nsteps:", 1)


def ms(seconds):
    return f"{seconds * 1000:.1f} ms"


def memory(pid, key="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


@row(1, "chain of 100 `sh -c true`, submit to done, against make", 2.5)
def row_1():
    with world() as w:
        w.put("p.yaml", chain(100))
        make = "".join(f"t{i}: {f't{i - 1}' if i else ''}\n\t@sh -c true\n" for i in range(100))
        w.put("Makefile", make)
        ours, theirs = pairs(lambda: w.timed("run", "p.yaml", "--json")[0], lambda: shell(["make", "-s", "t99"], w.project))
        return ours / theirs, f"{ms(ours)} against {ms(theirs)}, ×"


@row(2, "fan-out of 1,000, 2 slots, steps/s against xargs -P2", -0.6)
def row_2():
    with world() as w:
        w.put("p.yaml", fan(1000))
        ours, theirs = pairs(lambda: w.timed("run", "p.yaml", "--json")[0],
                             lambda: shell(["sh", "-c", "seq 1000 | xargs -P2 -n1 sh -c true"]))
        return theirs / ours, f"{1000 / ours:.0f}/s against {1000 / theirs:.0f}/s, ×"


@row(3, "one no-op step, cold CLI, daemon running (ms)", 15)
def row_3():
    with world() as w:
        times = [w.timed("run", "warm.yaml", "--json")[0] for _ in range(5 * PAIRS)]
        return statistics.median(times) * 1000, f"best {ms(min(times))}"


@row(4, "first use: daemon, worker, migrations, one step (ms)", 100)
def row_4():
    times = []
    for _ in range(PAIRS):
        with world(warm=False) as w:
            w.put("p.yaml", chain(1))
            times.append(w.timed("run", "p.yaml", "--json")[0])
    return statistics.median(times) * 1000, f"best {ms(min(times))}"


@row(5, "per step at 10,000 queued against at 100", 1.15)
def row_5():
    with world() as w:
        w.put("p.yaml", fan(10000))
        run = json.loads(w.w("run", "p.yaml", "--json"))
        starts = sorted(s["attempts"][0]["start_time"] for s in run["steps"])
        seconds = lambda a, b: (moment(starts[b]) - moment(starts[a])) / (b - a)
        full, nearly = seconds(100, 1500), seconds(8500, 9900)
        return full / nearly, f"{full * 1e3:.2f} ms against {nearly * 1e3:.2f} ms a step, ×"


def moment(text):
    """Seconds since the epoch of an RFC 3339 time in UTC."""
    clock, _, fraction = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(clock, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")


@row(6, "submit a plan of 10,000 steps (ms)", 300)
def row_6():
    times = []
    with world() as w:
        w.put("p.yaml", chain(10000, "run: [sleep, '100']"))
        for _ in range(PAIRS):
            seconds, out = w.timed("submit", "p.yaml", "--json")
            times.append(seconds)
            w.w("cancel", "--now", json.loads(out)["run_id"])
    return statistics.median(times) * 1000, f"best {ms(min(times))}"


KINDS = {"86-byte lines": ("x" * 85 + "\n").encode(), "2-byte lines": b"y\n", "one line": None}
LOG = 200 << 20


def log_file(w, kind):
    path = w.top / "log"
    block = KINDS[kind]
    data = b"z" * LOG if block is None else (block * (LOG // len(block) + 1))[:LOG]
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def flood(kind, during=None):
    """(ratio, text, growth of daemon, growth of worker) for one kind of log."""
    with world() as w:
        path, digest = log_file(w, kind)
        w.put("p.yaml", chain(1, f"run: [cat, '{path}']"))
        daemon, worker = w.pid("daemon"), w.pid("worker")
        before = memory(daemon), memory(worker)
        for pid in (daemon, worker):
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        ours, theirs = pairs(lambda: w.timed("run", "p.yaml", "--json")[0],
                             lambda: shell(["sh", "-c", f"cat {path} | cat > {w.top}/copy"]))
        growth = [memory(pid, "VmHWM") - old for pid, old in zip((daemon, worker), before)]
        got = subprocess.Popen([BIN, "logs", "@last/s0"], cwd=w.project, env=w.env, stdout=subprocess.PIPE)
        seen = hashlib.sha256()
        while block := got.stdout.read(1 << 20):
            seen.update(block)
        got.wait()
        assert seen.hexdigest() == digest, "the log is not what was written"
        return ours / theirs, f"{kind}: {ms(ours)} against {ms(theirs)}", growth


@row(7, "200 MiB of log, byte-exact, against `cmd | cat > file`", 2.0)
def row_7():
    found = [flood(kind) for kind in KINDS]
    return max(f[0] for f in found), "; ".join(f"{f[1]} = {f[0]:.2f}×" for f in found) + "; worst ×"


@row(8, "growth of daemon and worker during 7 (MB, the larger)", 16)
def row_8():
    _, _, growth = flood("86-byte lines")
    return max(growth) / 1e6, f"daemon {growth[0] / 1e6:.1f}, worker {growth[1] / 1e6:.1f}"


def latencies(w, seconds=4):
    """99th percentile of line written → shown by a follower."""
    script = f"import time\nfor _ in range({seconds * 100}):\n    print(time.time_ns(), flush=True)\n    time.sleep(0.01)\n"
    (w.top / "clock.py").write_text(script)
    w.put("clock.yaml", chain(1, f"run: ['{PYTHON}', '{w.top}/clock.py']"))
    run = json.loads(w.w("submit", "clock.yaml", "--json"))["run_id"]
    follower = subprocess.Popen([BIN, "logs", f"{run}/s0", "-f"], cwd=w.project, env=w.env, stdout=subprocess.PIPE, bufsize=0)
    found, rest = [], b""
    while block := follower.stdout.read(65536):
        now = time.time_ns()
        *lines, rest = (rest + block).split(b"\n")
        found += [(now - int(line)) / 1e6 for line in lines]
    follower.wait()
    found = sorted(found[10:])  # the first lines were written before the follower had started
    return found[int(len(found) * 0.99)]


@row(9, "log line written → shown, p99, idle (ms)", 50)
def row_9():
    with world() as w:
        idle = latencies(w)
        path, _ = log_file(w, "86-byte lines")
        w.put("flood.yaml", chain(12, f"run: [cat, '{path}']"))
        load = json.loads(w.w("submit", "flood.yaml", "--json"))["run_id"]
        loaded = latencies(w)
        w.w("cancel", "--now", load)
        return idle, f"under row 7: {loaded:.1f} ms (must 250)" + (" !" if loaded > 250 else "")


@row(10, "a stuck follower, against none", 1.05)
def row_10():
    with world() as w:
        path, _ = log_file(w, "86-byte lines")
        w.put("p.yaml", chain(1, f"run: [cat, '{path}']"))

        def stuck():
            start = time.perf_counter()
            run = json.loads(w.w("submit", "p.yaml", "--json"))["run_id"]
            follower = subprocess.Popen([BIN, "logs", f"{run}/s0", "-f"], cwd=w.project, env=w.env, stdout=subprocess.PIPE)
            follower.stdout.read(1)
            follower.send_signal(signal.SIGSTOP)
            w.w("wait", run)
            seconds = time.perf_counter() - start
            follower.kill()
            follower.communicate()
            return seconds

        def free():
            start = time.perf_counter()
            run = json.loads(w.w("submit", "p.yaml", "--json"))["run_id"]
            follower = subprocess.Popen([BIN, "ls"], cwd=w.project, env=w.env, stdout=subprocess.PIPE)
            follower.communicate()
            w.w("wait", run)
            return time.perf_counter() - start

        ours, theirs = pairs(stuck, free)
        return ours / theirs, f"{ms(ours)} against {ms(theirs)}, ×"


@row(11, "daemon idle: memory (MB)", 20)
def row_11():
    with world() as w:
        pid = w.pid("daemon")
        ticks = lambda: sum(int(v) for v in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])
        time.sleep(2)
        before = ticks()
        time.sleep(20)
        share = (ticks() - before) / os.sysconf("SC_CLK_TCK") / 20 * 100
        return memory(pid) / 1e6, f"CPU {share:.2f} % (must 0.1)" + (" !" if share > 0.1 else "")


def history(w, count):
    """Fills the database with copies of one finished run, by the schema's own columns."""
    w.put("one.yaml", chain(3))
    w.w("run", "one.yaml", "--json")
    w.w("daemon", "stop")
    db = sqlite3.connect(w.top / "h/windlass.db")
    tables = [t for (t,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")]
    columns = {t: [c[1] for c in db.execute(f"PRAGMA table_info({t})")] for t in tables}
    (old,) = db.execute("SELECT run_id FROM runs ORDER BY run_id DESC LIMIT 1").fetchone()
    with_run = [t for t in tables if t in ("runs", "run_records", "steps", "attempts")]
    rows = {t: db.execute(f"SELECT * FROM {t} WHERE run_id = ?", (old,)).fetchall() for t in with_run}
    base = int(time.time() * 1000) - 2 * count
    db.execute("PRAGMA synchronous = OFF")
    for t in with_run:
        at, name = columns[t].index("run_id"), columns[t].index("name") if t == "runs" else None
        pipeline = columns[t].index("pipeline") if t == "runs" else None

        def copies():
            for i in range(count):
                key = (base + i).to_bytes(6, "big") + b"\x70" + i.to_bytes(9, "big")
                for r in rows[t]:
                    r = list(r)
                    r[at] = key
                    if "id" in columns[t]:
                        r[columns[t].index("id")] = None
                    if name is not None:
                        r[name], r[pipeline] = f"old-run-{i}", f"pipeline-{i % 50}"
                    yield r
        db.executemany(f"INSERT INTO {t} VALUES ({','.join('?' * len(columns[t]))})", copies())
        db.commit()
    db.execute("ANALYZE")
    db.commit()
    db.close()


HISTORY = int(os.environ.get("HISTORY", "1000000"))


@row(12, "history of 1,000,000 runs: newest, by pipeline, by state, one run (ms, the slowest)", 10)
def row_12():
    with world() as w:
        history(w, HISTORY)
        w.w("ls", "--json")
        asks = {"newest": ("ls", "--limit", "50", "--json"), "pipeline": ("ls", "--pipeline", "pipeline-7", "--limit", "50", "--json"),
                "state": ("ls", "--state", "succeeded", "--limit", "50", "--json"), "one": ("show", f"old-run-{HISTORY // 2}", "--json")}
        found = {k: statistics.median(w.timed(*a)[0] for _ in range(2 * PAIRS)) * 1000 for k, a in asks.items()}
        return max(found.values()), ", ".join(f"{k} {v:.1f}" for k, v in found.items())


@row(13, "restart with 10,000 queued and 1,000,000 in history (ms to ready)", 500)
def row_13():
    with world() as w:
        history(w, HISTORY)
        w.put("p.yaml", fan(10000, "run: [sleep, '1000']"))
        run = json.loads(w.w("submit", "p.yaml", "--json"))["run_id"]
        times = []
        for _ in range(PAIRS):
            os.kill(w.pid("daemon"), signal.SIGKILL)
            time.sleep(0.1)
            times.append(w.timed("ls", "--limit", "1", "--json")[0])
        w.w("cancel", "--now", run)
        return statistics.median(times) * 1000, f"best {ms(min(times))}"


@row(17, "artifact of 1 GiB: hash and keep, against copying while hashing", 1.2)
def row_17():
    with world() as w:
        make = f"(echo $WINDLASS_RUN_ID; head -c {1 << 30} /dev/zero) > big"
        w.put("p.yaml", chain(1, f"run: [sh, -c, '{make}; date +%s.%N >&2']"))
        source = w.top / "source"

        def ours():
            run = json.loads(w.w("run", "p.yaml", "--json"))
            written = subprocess.run([BIN, "logs", "@last/s0"], cwd=w.project, env=w.env, capture_output=True).stderr
            seconds = moment(run["end_time"]) - float(written)
            w.w("rm", "@last")
            return seconds

        def theirs():
            subprocess.run(["sh", "-c", f"head -c {1 << 30} /dev/zero > {source}"], check=True)
            seconds = shell([str(TOP / "target/release/examples/copy_hash"), str(source), str(w.top / "kept")])
            (w.top / "kept").unlink()
            return seconds

        subprocess.run(["cargo", "build", "--release", "-q", "-p", "windlass-blobs", "--example", "copy_hash"], cwd=TOP, check=True)
        mine, other = pairs(ours, theirs)
        return mine / other, f"{ms(mine)} against {ms(other)}, ×"


@row(18, "private working directory, 200-file project, per step after the first (ms)", 1)
def row_18():
    with world() as empty, world() as full:
        for i in range(200):
            full.put(f"pkg{i % 10}/file{i}.py", f"x = {i}\n" * 50)
        for w in (empty, full):
            w.put("p.yaml", chain(100))
            w.put("one.yaml", chain(1))
        once = lambda w: w.timed("run", "p.yaml", "--json")[0] - w.timed("run", "one.yaml", "--json")[0]
        ours, theirs = pairs(lambda: once(full), lambda: once(empty))
        return max(0.0, (ours - theirs) / 99 * 1000), f"{ms(ours / 99)} against {ms(theirs / 99)} a step without files"


@row(19, "python function step against `python3 -c` of the same call (+ms)", 5)
def row_19():
    with world() as w:
        w.put("f.py", "def go(n=3):\n    return sum(range(n))\n")
        w.put("p.yaml", chain(21, "python: 'f:go'"))
        w.put("one.yaml", chain(1, "python: 'f:go'"))
        ours, theirs = pairs(lambda: (w.timed("run", "p.yaml", "--json")[0] - w.timed("run", "one.yaml", "--json")[0]) / 20,
                             lambda: shell([PYTHON, "-c", "import f; f.go()"], w.project))
        return (ours - theirs) * 1000, f"{ms(ours)} against {ms(theirs)}"


@row(20, "40 × fibo(10) in python, chained, against 40 × bare python3", 1.15)
def row_20():
    with world() as w:
        w.put("f.py", "def fibo(n=10):\n    return n if n <= 1 else fibo(n - 1) + fibo(n - 2)\n")
        w.put("p.yaml", chain(40, "python: 'f:fibo'"))
        w.put("bare.sh", "for i in $(seq 40); do " + PYTHON + " -c 'import f; f.fibo()'; done\n")
        ours, theirs = pairs(lambda: w.timed("run", "p.yaml", "--json")[0], lambda: shell(["sh", "bare.sh"], w.project))
        return ours / theirs, f"{ms(ours)} against {ms(theirs)}, ×"


def each(count, body="run: [sh, -c, 'true']"):
    """One step over a list of that many items."""
    return f"version: 1\nsteps:\n  a: {{{body}, as: x, foreach: {json.dumps(list(range(count)))}}}\n"


def per_instance(count, times):
    with world() as w:
        w.put("each.yaml", each(count))
        w.put("plain.yaml", fan(count))
        ours, theirs = pairs(lambda: w.timed("run", "each.yaml", "--json")[0], lambda: w.timed("run", "plain.yaml", "--json")[0], times)
        return ours / theirs, f"{ms(ours / count)} against {ms(theirs / count)}, ×"


@row(21, "per instance of a `foreach` of 1,000 against a plain step of 1,000", 1.2)
def row_21():
    return per_instance(1000, PAIRS)


@row(22, "per instance of a `foreach` of 10,000 against a plain step of 10,000", 1.2)
def row_22():
    return per_instance(10000, max(1, PAIRS // 3))


@row(23, "expansion of 10,000 instances, submit to first start (ms)", 300)
def row_23():
    times = []
    with world() as w:
        w.put("p.yaml", each(10000, "run: [sleep, '1000']"))
        for _ in range(PAIRS):
            run = json.loads(w.w("submit", "p.yaml", "--json"))["run_id"]
            starts = []
            while not starts:
                seen = json.loads(w.w("show", run, "--json"))
                starts = [a["start_time"] for s in seen["steps"] for a in s["attempts"] if a.get("start_time")]
                time.sleep(0.05)
            times.append(moment(min(starts)) - moment(seen["create_time"]))
            w.w("cancel", "--now", run)
            w.w("wait", run, check=False)
    return statistics.median(times) * 1000, f"best {ms(min(times))}"


@row(24, "daemon with 10,000 queued instances (+MB)", 60)
def row_24():
    with world() as w:
        daemon = w.pid("daemon")
        before = memory(daemon)
        w.put("p.yaml", each(10000, "run: [sleep, '1000']"))
        run = json.loads(w.w("submit", "p.yaml", "--json"))["run_id"]
        time.sleep(2)
        grown = memory(daemon) - before
        w.w("cancel", "--now", run)
        return grown / 1e6, f"from {before / 1e6:.1f} MB"


@row(25, "chain of 20 nested single-step pipelines against 20 plain steps", 1.2)
def row_25():
    with world() as w:
        w.put("inner.yaml", chain(1))
        w.put("nested.yaml", chain(20, "pipeline: inner.yaml"))
        w.put("plain.yaml", chain(20))
        ours, theirs = pairs(lambda: w.timed("run", "nested.yaml", "--json")[0], lambda: w.timed("run", "plain.yaml", "--json")[0], 3 * PAIRS)
        return ours / theirs, f"{ms(ours)} against {ms(theirs)}, ×"


def main():
    chosen = [int(n) for n in sys.argv[1:]] or sorted(ROWS)
    missing = [n for n in chosen if n not in ROWS]
    if missing:
        sys.exit(f"no row {missing[0]}; there are {', '.join(map(str, sorted(ROWS)))}")
    print("| # | what | figure | must | how |\n|---|---|---|---|---|", flush=True)
    for number in chosen:
        what, must, function = ROWS[number]
        figure, how = function()
        short = figure < -must if must < 0 else figure > must
        mark = " **short**" if short else ""
        print(f"| {number} | {what} | {figure:.2f}{mark} | {'≥ ' if must < 0 else '≤ '}{abs(must)} | {how} |", flush=True)


if __name__ == "__main__":
    main()
