"""Tries mutants: compiles the broken source alone, links a module from the objects that are built already, and runs the
operation's test on it. Everything is written to a temporary folder; the tree is only read.
"""
import json
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import namedtuple
from pathlib import Path

# The cheapest run first; a mutant is killed by the first test that fails. The check build sees what the order of threads
# hides, and is compiled only for what the fast one lets live.
RUNS = (("fast", "rev"), ("fast", "random"), ("check", "seq"))
OPS_OF_A_HEADER = 2

Verdict = namedtuple("Verdict", "kind how seconds")  # kind: killed, survived, same (the same machine code) or invalid


class Bench:
    """The build folder, the operations, and the scratch folders of the workers."""

    def __init__(self, root, build, jobs):
        self.root, self.build, self.jobs = Path(root), Path(build).resolve(), jobs
        self.sources = {str(p.relative_to(self.root)): p.read_text() for p in sorted(self.root.glob("kernels/*/*"))
                        if re.search(r"_cuda\.(cu|h)$", p.name) or p.parent.name == "device" or p.suffix == ".h"}
        self.ops = sorted(p.split("/")[1] for p in self.sources if p.endswith("_cuda.cu"))
        self.words = {}  # of each operation's source, once they have been asked for
        self.commands = None  # of the build folder, by the object they make
        self.baselines, self.lock = {}, threading.Lock()

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="mutate-")
        self.workers = queue.Queue()
        for i in range(self.jobs):
            worker = Path(self.folder, str(i))
            for path, text in self.sources.items():
                copy = worker / Path(path).relative_to("kernels")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(text)
            self.workers.put(worker)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def mutated_files(self):
        return [p for p in self.sources if re.search(r"_cuda\.(cu|h)$", p) or "/device/" in p and not p.endswith("/port.h")]

    def prepare(self, ops):
        """Builds both modules and the tests of these operations, and reads how their kernels are compiled."""
        if not (self.build / "compile_commands.json").exists():
            generator = ["-G", "Ninja"] if shutil.which("ninja") and not (self.build / "CMakeCache.txt").exists() else []
            run_quietly(["cmake", "-S", str(self.root), "-B", str(self.build), *generator, "-DGM_SIM=ON",
                         "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"])
        targets = ["gm_module_sim_fast", "gm_module_sim_check", *(f"sim_{op}_test" for op in ops)]
        run_quietly(["cmake", "--build", str(self.build), "-j", str(self.jobs), "--target", *targets])
        with open(self.build / "compile_commands.json") as f:
            self.commands = {}
            for entry in json.load(f):
                words = shlex.split(entry["command"])
                self.commands[words[words.index("-o") + 1]] = words

    def kernel_object(self, op, variant):
        return f"CMakeFiles/gm_sim_kernels_{variant}.dir/sim/gm_sim_kernels_{variant}/{op}_cuda.cpp.o"

    def compile_command(self, op, variant):
        """As the build folder has it, without warnings and debug information, and -O1 for speed; the scratch folder first."""
        words, kept = list(self.commands[self.kernel_object(op, variant)]), []
        while words:
            word = words.pop(0)
            if word in ("-o", "-c", "-MF", "-MT", "-MQ"):
                words.pop(0)
            elif not re.match(r"-W|-g|-O|-MD$", word):
                kept.append(word)
        return [*kept[:1], "-I.", *kept[1:], "-w", "-O1", "-x", "c++", "-c", f"{op}/{op}_cuda.cu", "-o", "mutant.o"]

    def link_command(self, worker, op, variant):
        """The build folder's own, with another object and result; runs in the build folder."""
        target = f"gm_module_sim_{variant}"
        if (self.build / "build.ninja").exists():
            steps = subprocess.run(["ninja", "-C", str(self.build), "-t", "commands", target], check=True, stdout=subprocess.PIPE, text=True)
            words = shlex.split(steps.stdout.splitlines()[-1])
        else:
            words = shlex.split((self.build / f"CMakeFiles/{target}.dir/link.txt").read_text())
        words = [w for w in words if w not in (":", "&&")]  # Ninja's steps before and after: none
        words[words.index(self.kernel_object(op, variant))] = str(worker / "mutant.o")
        words[words.index("-o") + 1] = str(worker / "mutant.so")
        return words

    def ops_of(self, mutant):
        """The operations whose tests judge a mutant: its own, or those with the smallest sources that use a header's function."""
        if mutant.path.endswith(".cu"):
            return [mutant.path.split("/")[1]]
        including = [op for op in self.ops if mutant.path in self.included(f"kernels/{op}/{op}_cuda.cu")]
        using = [op for op in including if mutant.function in self.used_words(op)] or including
        return sorted(using, key=lambda op: (len(self.sources[f"kernels/{op}/{op}_cuda.cu"]), op))[:OPS_OF_A_HEADER]

    def included(self, path, seen=None):
        seen = seen if seen is not None else set()
        for name in re.findall(r'^#include "(.*?)"', self.sources[path], re.M):
            if f"kernels/{name}" in self.sources and f"kernels/{name}" not in seen:
                seen.add(f"kernels/{name}")
                self.included(f"kernels/{name}", seen)
        return seen

    def used_words(self, op):
        """The words of an operation's source, and of what they name in the headers, and so on."""
        if op in self.words:
            return self.words[op]
        path = f"kernels/{op}/{op}_cuda.cu"
        words, bodies = set(re.findall(r"\w+", self.sources[path])), {}
        for header in self.included(path):
            for body in re.split(r"\n(?=\S)", self.sources[header]):
                name = re.search(r"(\w+)(?:<[^<>]*>)?\(", re.sub(r"__\w+__\([^()]*\)", "", body))
                if name:
                    bodies.setdefault(name.group(1), set()).update(re.findall(r"\w+", body))
        while True:
            more = set().union(*(bodies[w] for w in words if w in bodies)) - words
            if not more:
                self.words[op] = words
                return words
            words |= more

    def compile(self, worker, op, variant, mutant=None):
        """The object's bytes, or None where this is no C++. The worker's copy of the source is broken only meanwhile."""
        copy = worker / Path(mutant.path).relative_to("kernels") if mutant else None
        if mutant:
            copy.write_text(mutant.apply(self.sources[mutant.path]))
        done = subprocess.run(self.compile_command(op, variant), cwd=worker, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if mutant:
            copy.write_text(self.sources[mutant.path])
        return (worker / "mutant.o").read_bytes() if done.returncode == 0 else None

    def link(self, worker, op, variant):
        run_quietly(self.link_command(worker, op, variant), cwd=self.build)

    def baseline(self, worker, op, variant):
        """The object of the unbroken source and, for each order, the seconds of a processor its test takes; it must pass."""
        with self.lock:
            entry = self.baselines.setdefault((op, variant), {"lock": threading.Lock()})
        with entry["lock"]:
            if "object" not in entry:
                entry["object"] = self.compile(worker, op, variant)
                if entry["object"] is None:
                    raise RuntimeError(f"{op}: the unbroken kernels do not compile for the {variant} module")
                self.link(worker, op, variant)
                for of_variant, order in RUNS:
                    if of_variant != variant:
                        continue
                    how, entry[order] = self.run_test(worker, op, order, 600)
                    if how is not None:
                        raise RuntimeError(f"{op}: the test of the unbroken kernels fails ({variant} {order}: {how})")
        return entry

    def run_test(self, worker, op, order, limit):
        """(why it failed or None, seconds of a processor). Stops at the first failure. `limit` is in seconds of a processor, so
        that a busy machine kills nobody; a test that sleeps for ever meets a limit by the clock."""
        program = self.build / f"sim_{op}_test"
        environment = {**os.environ, "GM_TEST_MODULE": str(worker / "mutant.so"), "GM_SIM_ORDER": order, "GM_SIM_SEED": "1"}
        before = time.monotonic()
        command = f"ulimit -c 0; ulimit -t {int(limit) + 1}; exec {shlex.quote(str(program))}"
        test = subprocess.Popen(["sh", "-c", command], cwd=self.root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        clock = threading.Timer(60 + 10 * limit, test.kill)
        clock.start()
        how = None
        for line in test.stderr:
            if b"[  FAILED  ]" in line:
                how = "failed"
                test.kill()
                break
        _, status, usage = os.wait4(test.pid, 0)
        clock.cancel()
        test.stderr.close()
        test.returncode = os.waitstatus_to_exitcode(status)
        if how is None and test.returncode == 77:
            raise RuntimeError(f"{program} was skipped: the module did not open")
        if how is None and test.returncode != 0:
            how = "time" if test.returncode in (-signal.SIGXCPU, -signal.SIGKILL) else "crash" if test.returncode < 0 else "failed"
        return how, usage.ru_utime + usage.ru_stime

    def judge(self, mutant):
        worker, started, kinds = self.workers.get(), time.monotonic(), []
        try:
            for op in mutant.ops:
                kind, how = self.judge_by(worker, op, mutant)
                kinds.append(kind)
                if kind == "killed":
                    break
        finally:
            self.workers.put(worker)
        last = next(k for k in ("killed", "survived", "same", "invalid") if k in kinds)
        return Verdict(last, how if last == "killed" else "", time.monotonic() - started)

    def judge_by(self, worker, op, mutant):
        for variant in ("fast", "check"):
            baseline = self.baseline(worker, op, variant)
            made = self.compile(worker, op, variant, mutant)
            if made is None:
                return "invalid", ""
            if made == baseline["object"]:
                return ("same" if variant == "fast" else "survived"), ""
            self.link(worker, op, variant)
            for of_variant, order in RUNS:
                if of_variant == variant:
                    how, _ = self.run_test(worker, op, order, 2 + 4 * baseline[order])
                    if how is not None:
                        return "killed", f"{op} {variant} {order}: {how}"
        return "survived", ""


def run_quietly(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command[:4])} ... failed:\n{done.stdout[-3000:]}")
