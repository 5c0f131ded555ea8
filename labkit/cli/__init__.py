"""The command line: ``labkit run | sweep | list | ledger | data``.

Exit status: 0 all is well, 1 something failed, 2 the command was not understood, 130 interrupted (143 by
SIGTERM, 129 by SIGHUP).
"""

import logging
import signal
import sys

from labkit.cli.commands import Failure, Usage
from labkit.cli.parser import parser

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = parser().parse_args(arguments)
    # What becomes of a notebook is told once, in its outcome, and not by Dask's log as well.
    handler = logging.StreamHandler()
    handler.addFilter(logging.Filter("labkit"))
    logging.basicConfig(format="labkit: %(message)s", level=logging.WARNING, handlers=[handler])
    try:
        return options.command(options)
    except KeyboardInterrupt as stopped:
        print("\ninterrupted; what had finished is kept", file=sys.stderr)
        return 128 + getattr(stopped, "number", signal.SIGINT)
    except BrokenPipeError:  # the reader of our output has gone, as in `labkit list | head`
        sys.stderr.close()
        return 1
    except Usage as error:
        return _complain(error, 2)
    except (Failure, OSError) as error:
        return _complain(error, 1)


def _complain(error: Exception, code: int) -> int:
    print(f"labkit: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code
