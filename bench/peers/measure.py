"""What the pairs of this folder share: rows of our program, CPU time and memory of the peer's, medians and ratios of rounds. Imported before torch,
so that both run on one thread.
"""
import json, os, statistics, subprocess, sys, time

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")


def status_mb(what):  # getrusage would count what the parent had at the fork
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what)) / 1024


def ours(program, row, *options, **env):
    """The lines that our program prints for a row, read from JSON."""
    out = subprocess.run([program, "--threads", "1", *options, row], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, env=dict(os.environ, **env))
    return [json.loads(line) for line in out.stdout.splitlines()]


def seconds(f, repeats=3, budget=0.0):
    """Least CPU seconds of so many calls, or more (200 at most) while the budget of wall seconds lasts."""
    best, start, n = 1e30, time.perf_counter(), 0
    while n < repeats or (n < 200 and time.perf_counter() - start < budget):
        c = time.process_time()
        f()
        best, n = min(best, time.process_time() - c), n + 1
    return best


def peak_of(f):
    """MB of memory at most during two calls; what was done before does not count."""
    open("/proc/self/clear_refs", "w").write("5")
    f(), f()
    return status_mb("VmHWM")


def apart(*args):
    """The last number that this script prints when it is called with these arguments: memory is measured in a process of its own."""
    out = subprocess.run([sys.executable, sys.argv[0], *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(out.stdout.split()[-1])


def compared(mine, theirs):
    """Medians of CPU seconds, and of the ratios of rounds (above 1: we are faster) with their range."""
    ratios = [t / m for t, m in zip(theirs, mine)]
    return {"vismin_cpu_s": round(statistics.median(mine), 3), "torch_cpu_s": round(statistics.median(theirs), 3), "ratio": round(statistics.median(ratios), 3),
            "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3)}


def rows_of(all_rows):
    """PROGRAM [ROUNDS] [f32|bf16|all] [ROW...]: number of rounds, and (row, dtype) in turn."""
    types = sys.argv[3] if len(sys.argv) > 3 else "all"
    pairs = [(row, dtype) for row in sys.argv[4:] or all_rows for dtype in (("f32", "bf16") if types == "all" else (types,))]
    return int(sys.argv[2]) if len(sys.argv) > 2 else 5, pairs
