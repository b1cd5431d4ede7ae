"""Times of implementations that take turns."""

import time

# Threads of another library spin for a while after their work; a pause lets them rest.
PAUSE = 0.02


def measure_times(runners, rounds, max_seconds):
    """Seconds of each run, taking turns.

    The first call, which traces, compiles and fills caches, does not count, unless it
    alone takes `max_seconds`: then it is the one measurement. Who has used them up in
    later rounds sits out the rest.

    Args:
        runners: dict name -> dict quantity -> function.
        rounds: int.
        max_seconds: float.

    Returns:
        dict (name, quantity) -> list of seconds.
    """
    runs = {
        (name, quantity): run
        for name, functions in runners.items()
        for quantity, run in functions.items()
    }
    seconds = {}
    for key, run in runs.items():
        first = timed(run)
        seconds[key] = [first] if first > max_seconds else []
    for _ in range(rounds):
        for key, run in runs.items():
            if sum(seconds[key]) < max_seconds:
                seconds[key].append(timed(run))
    return seconds


def timed(run):
    time.sleep(PAUSE)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
