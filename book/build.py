"""Build the site: python book/build.py.

Stages the pages, the notebooks (each in its best result) and the generated pages into
book/_build/source, lets Jupyter Book render them with every warning an error, and leaves the site in
book/_build/html. Nothing is executed here, and what has not changed is not rendered again.
"""

import argparse
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).parent))

from sitegen import render, staging  # noqa: E402
from sitegen.content import gather, site_files  # noqa: E402


class Clock:
    """Names the steps as they run, and says at the end how long each took."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str):
        print(f"{name} …", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def __str__(self) -> str:
        steps = [f"  {seconds:6.1f} s  {name}" for name, seconds in self.seconds.items()]
        return "\n".join([*steps, f"  {sum(self.seconds.values()):6.1f} s  in all"])


def build(root: Path = ROOT, out: Path | None = None, *, fresh: bool = False) -> int:
    """Build the site of the checkout `root` into `out`/html; returns the exit status.

    out: by default book/_build.  fresh: render every page, changed or not.
    0: built. 1: built, but a notebook failed (its page says so). 2: Jupyter Book found errors or warnings.
    """
    out = out or root / "book" / "_build"
    clock = Clock()
    with clock.step("Gather papers, results and data cards"):
        content = gather(root, cache=out / "cards.json")
    with clock.step("Stage pages"):
        files, failed = site_files(root, content)
        staging.write_tree(out / "source", files)
    with clock.step("Render"):
        status = render.run(out, files, code=content.code, fresh=fresh)
    print(clock)
    for name in failed:
        print(f"FAILED: notebooks/{name}.ipynb; its page says so", file=sys.stderr)
    if status:
        print("The site has errors or warnings, see above.", file=sys.stderr)
        return 2
    print(f"The site is in {out / 'html'}: open {out / 'html' / 'index.html'}")
    return 1 if failed else 0


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="render every page again")
    sys.exit(build(fresh=parser.parse_args().fresh))


if __name__ == "__main__":
    main()
