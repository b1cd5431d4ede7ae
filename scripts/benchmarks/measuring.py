"""Times and rates of implementations that take turns."""

import time

# Threads of another library spin for a while after their work; a pause lets them rest.
PAUSE = 0.02


def measure_times(runners, rounds, max_seconds, time_of=None):
    """Seconds of each run, taking turns.

    The first call, which traces, compiles and fills caches, does not count, unless it
    alone takes `max_seconds`: then it is the one measurement. Who has measured as many
    in later rounds sits out the rest.

    Args:
        runners: dict name -> dict quantity -> function.
        rounds: int.
        max_seconds: float.
        time_of: function of a run to its seconds; `timed` by default.

    Returns:
        dict (name, quantity) -> list of seconds.
    """
    time_of = time_of or timed
    runs = {
        (name, quantity): run
        for name, functions in runners.items()
        for quantity, run in functions.items()
    }
    seconds = {}
    for key, run in runs.items():
        first = time_of(run)
        seconds[key] = [first] if first > max_seconds else []
    for _ in range(rounds):
        for key, run in runs.items():
            if sum(seconds[key]) < max_seconds:
                seconds[key].append(time_of(run))
    return seconds


def timed(run):
    time.sleep(PAUSE)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def timed_in_a_row(run, at_least=0.25):
    """Mean seconds of runs one after the other, as a loop has them.

    The first of them, which finds threads asleep and caches full of what others did,
    does not count, unless it alone takes `at_least` seconds: then it is the one
    measurement.
    """
    first = timed(run)
    if first >= at_least:
        return first
    count, start, elapsed = 0, time.perf_counter(), 0.0
    while elapsed < at_least:
        run()
        count += 1
        elapsed = time.perf_counter() - start
    return elapsed / count


def measure_rates(starts, rounds, seconds):
    """Items per second of each, taking turns.

    What the first batch of a turn needs, to trace and to fill buffers, does not count.

    Args:
        starts: dict name -> function to an iterator, without end, that does the work of
            a batch and gives its number of items.
        rounds: int.
        seconds: float, the length of a turn; it ends with the batch that ends after it.

    Returns:
        dict name -> list of floats.
    """
    rates = {name: [] for name in starts}
    for _ in range(rounds):
        for name, start in starts.items():
            rates[name].append(_rate(start(), seconds))
    return rates


def _rate(batches, seconds):
    next(batches)
    num_items, elapsed = 0, 0.0
    start = time.perf_counter()
    while elapsed < seconds:
        num_items += next(batches)
        elapsed = time.perf_counter() - start
    return num_items / elapsed
