"""Prints the versions of raftd's dependencies, and fails if one does not come from below the directory named."""

import re
import sys
from importlib import metadata
from pathlib import Path


def main() -> int:
    """Look at each distribution that raftd names."""
    expected = Path(sys.argv[1]).resolve()
    strangers = []
    for requirement in metadata.requires("raftd") or []:
        if "extra ==" in requirement:
            continue
        distribution = metadata.distribution(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
        place = Path(str(distribution.locate_file(""))).resolve()
        print(f"{distribution.metadata['Name']} {distribution.version}")
        if not place.is_relative_to(expected):
            strangers.append(f"{distribution.metadata['Name']} is of {place}, not of {expected}")
    print(*strangers, sep="\n", file=sys.stderr, end="\n" if strangers else "")
    return 1 if strangers else 0


if __name__ == "__main__":
    sys.exit(main())
