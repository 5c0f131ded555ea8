"""Measure when training seeds together is faster than one by one (`labkit.together`), on one core.

    python scripts/measure_together.py [book/performance/together.json]

About two minutes. The book's page *Performance* shows the file.
"""

import json
import platform
import sys
import time
from pathlib import Path

import torch

from labkit import models, training
from labkit.seeding import generator
from labkit.together import fit_together

OUT = Path(__file__).resolve().parent.parent / "book" / "performance" / "together.json"
COLUMNS = {
    "network": "Network",
    "images": "Images",
    "batch_size": "Batch",
    "seeds": "Seeds",
    "one_by_one": "One by one, ms per step and seed",
    "together": "Together, ms per step and seed",
    "times_as_fast": "Times as fast",
}
EXAMPLES, STEPS, REPEATS = 512, 60, 3


def network(name: str, shape: tuple[int, int, int], seed: int) -> torch.nn.Module:
    channels, side, _ = shape
    if name == "cnn":
        return models.cnn(10, in_channels=channels, seed=seed)
    return models.mlp(10, inputs=channels * side * side, seed=seed)


def row(name: str, shape: tuple[int, int, int], batch_size: int, seeds: int) -> dict:
    """Both ways in turn, in milliseconds of processor time, each at its best: others may be at work."""
    draws = generator(0)
    images = torch.rand(seeds, EXAMPLES, *shape, generator=draws)
    labels = torch.randint(10, (seeds, EXAMPLES), generator=draws)
    settings = {"steps": STEPS, "batch_size": batch_size}

    def one_by_one():
        for seed in range(seeds):
            training.fit(network(name, shape, seed), images[seed], labels[seed], seed=seed, **settings)

    def together():
        fit_together([network(name, shape, seed) for seed in range(seeds)], images, labels, **settings)

    took = {one_by_one: [], together: []}
    for repeat in range(REPEATS + 1):
        for way, seconds in took.items():
            started = time.process_time()
            way()
            if repeat:  # the first one warms up
                seconds.append(1000 * (time.process_time() - started) / (seeds * STEPS))
    alone, joined = min(took[one_by_one]), min(took[together])
    found = {"network": name, "images": "x".join(map(str, shape)), "batch_size": batch_size, "seeds": seeds}
    found |= {"one_by_one": round(alone, 2), "together": round(joined, 2)}
    print(found | {"times_as_fast": round(alone / joined, 2)}, flush=True)
    return found | {"times_as_fast": round(alone / joined, 2)}


def main() -> None:
    torch.set_num_threads(1)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    cases = [("mlp", (1, 8, 8)), ("cnn", (1, 8, 8)), ("cnn", (1, 12, 12)), ("cnn", (3, 24, 24))]
    rows = [
        row(name, shape, batch_size, seeds)
        for name, shape in cases
        for batch_size in (32, 64)
        for seeds in (5, 10, 20)
        if shape[1] == 8 or seeds == 10  # the digits' own size in full, larger ones to see where it ends
    ]
    machine = {"threads": 1, "torch": torch.__version__, "python": platform.python_version()}
    content = {"columns": COLUMNS, "rows": rows, "machine": machine}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
