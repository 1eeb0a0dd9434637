"""`python -m tests.hosts`: three empty hosts to try things on, until Ctrl-C."""

import signal
import sys

from tests.hosts.image import image
from tests.hosts.lab import Lab
from tests.hosts.requirements import lacking

NAMES = ("raft1", "raft2", "raft3")


def main() -> int:
    """Boot them, and say how to get in."""
    if reasons := lacking():
        print(*reasons, sep="\n", file=sys.stderr)
        return 1
    with Lab(image(), NAMES) as lab:
        for host in lab.hosts.values():
            print(f"{host.name} {host.address}   {' '.join(host.command('bash'))}")
        print(f"from here into their network: {' '.join(lab.on_network('COMMAND'))}\nCtrl-C ends them")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main())
