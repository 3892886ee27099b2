"""`python -m benchmark.measure.speed_probe`: how fast the cores it runs on are now, a row each INTERVAL_S.

Three small fixed pieces of work, since what slows a core down (a lower clock, a neighbour on its other
hardware thread, a neighbour in the shared cache) does not slow all work alike: the interpreter's loop, a
product of matrices that stays in the core's own cache, a pass over more memory than that. Each is timed in
CPU time of its thread, so that waiting for the core, which a busy server makes it do, counts for nothing.
All of it is some 1.7 ms of work: under 1 % of one core.
"""

import os
import time

INTERVAL_S = 0.2
LOOPS = 20_000
PRODUCT_SIZE = 192
PRODUCTS = 4
MEMORY_BYTES = 8 << 20


def main() -> None:
    """Writes until it is stopped; `time_s` is of time.perf_counter, the others are milliseconds."""
    # Before NumPy is there: more threads would wait for each other on cores that are busy.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    import numpy as np

    rng = np.random.default_rng(0)
    left, right = rng.random((2, PRODUCT_SIZE, PRODUCT_SIZE), dtype=np.float32)
    product = np.empty_like(left)
    memory = np.ones(MEMORY_BYTES // 4, np.float32)

    def interpreter() -> None:
        total = 0
        for number in range(LOOPS):
            total += number

    def products() -> None:
        for _ in range(PRODUCTS):
            np.matmul(left, right, out=product)

    def passes() -> None:
        memory.sum()

    while True:
        row = [time.perf_counter()]
        for work in (interpreter, products, passes):
            began_s = time.thread_time()
            work()
            row.append((time.thread_time() - began_s) * 1e3)
        print(",".join(f"{value:.4f}" for value in row), flush=True)
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main()
