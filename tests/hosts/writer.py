"""A user of the cluster who never stops writing; runs inside a host, with the package's own client.

Standard output has a line for each write: `ok N`, or `failed N` and why. When standard input ends, it reads back what
was acknowledged, and says `lost N` for each write that is not there, `stall S` for the longest wait in seconds, and
`done`.
"""

import sys
import threading
import time

from raftd.client import Client, ClientError

CONFIG = "/etc/raftd/raftctl.yaml"
KEYS = 500
"""Writes go round and round over this many keys: what is read back is each key's last one."""


def main() -> None:
    """Write until told to stop, then check."""
    prefix = sys.argv[1]
    stop = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    acknowledged: dict[str, int] = {}
    in_doubt: dict[str, set[int]] = {}
    stall = 0.0
    number = 0
    with Client.from_config(CONFIG) as client:
        while not stop.is_set():
            number += 1
            key = f"{prefix}/{number % KEYS}"
            began = time.monotonic()
            try:
                client.put(key, str(number))
            except ClientError as error:
                in_doubt.setdefault(key, set()).add(number)
                print(f"failed {number} {error}", flush=True)
            else:
                acknowledged[key] = number
                in_doubt.pop(key, None)
                print(f"ok {number}", flush=True)
            stall = max(stall, time.monotonic() - began)
        for key, last in acknowledged.items():
            found = client.get(key)
            if found is None or int(found.value) not in {last} | in_doubt.get(key, set()):
                print(f"lost {last}", flush=True)
    print(f"stall {stall:.3f}\ndone", flush=True)


if __name__ == "__main__":
    main()
