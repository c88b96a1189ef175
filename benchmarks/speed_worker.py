"""One measurement for speed.py, in this process: prints a line of JSON.

CONTESTANT is one of `engines.MADE_BY_NAME`.

    speed_worker.py CONTESTANT step|predict|start "10 x 32"
    speed_worker.py CONTESTANT forward|backward "conv 3x3 16-32"
    speed_worker.py machine
"""

import time

STARTED = time.perf_counter()

import json  # noqa: E402  (the clock starts before anything is imported)
import os  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402

WARM_UP = 2  # calls before the clock starts
MIN_SECONDS = 1.0  # measure for at least this long …
MIN_RUNS = 3  # … and at least this often


def main():
    if sys.argv[1] == "machine":
        import machine

        report(flops_per_second=machine.flops_per_second(measure), bytes_per_second=machine.bytes_per_second(measure))
        return

    from engines import maker

    contestant, what, case = sys.argv[1:]
    if what == "start":
        maker(contestant)("step", case)()
        report(seconds=time.perf_counter() - STARTED + seconds_before_python())
        return
    action = maker(contestant)(what, case)
    first = [action() for _ in range(WARM_UP)]
    answers = answers_of(what, first)
    del first  # or it would count as memory that is needed
    report(seconds=measure(action, warm_up=0), answers=answers)


def answers_of(what, returned):
    """By which contestants are compared: losses, of which the second is after one step of Adam; log-probabilities."""
    if what == "step":
        return returned
    return returned[0].tolist() if what == "predict" else None


def report(**numbers):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(numbers | {"peak_mb": peak}))


def seconds_before_python():
    """From the start of this process to STARTED, by the kernel's account (a hundredth of a second fine)."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    now_since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    age = now_since_boot - ticks / os.sysconf("SC_CLK_TCK")
    return age - (time.perf_counter() - STARTED)


def measure(action, warm_up=WARM_UP):
    """Median seconds of one call, after some that warm up: the first compiles, the second may still fill caches."""
    for _ in range(warm_up):
        action()
    times = []
    while len(times) < MIN_RUNS or sum(times) < MIN_SECONDS:
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
