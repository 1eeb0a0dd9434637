"""`ansible-playbook`, for a quarter less of processor time: what each of its processes makes anew is there before.

Ansible forks for every task and host. What a fork has loaded, packed or collected is gone with it, so the next one does
it again. Nothing that a playbook does is different.

    python -m tests.hosts.ansible_playbook DIRECTORY -i INVENTORY PLAYBOOK …

DIRECTORY is a lab's: in there modules are kept as they are packed, for the next playbook.
"""

import gc
import sys
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.cli.playbook import PlaybookCLI
from ansible.plugins import loader as plugins

_LOADED = (plugins.filter_loader, plugins.test_loader)
"""Every fork would load all of these for the first filter or test that it comes to."""


class _PreparedCLI(PlaybookCLI):  # type: ignore[misc]  # Ansible has no types
    def _play_prereqs(self) -> Any:
        made = super()._play_prereqs()
        for loader in _LOADED:
            list(loader.all())
        gc.freeze()
        return made


def _share_packed_modules(directory: Path) -> None:
    """Let what Ansible keeps for one run, the modules as they are sent, be there for the next one."""
    packed = directory / "modules"
    packed.mkdir(exist_ok=True)
    Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(packed)


if __name__ == "__main__":
    # A collection would touch, and so copy, every page that a fork shares with its parent. None lives for long.
    gc.disable()
    _share_packed_modules(Path(sys.argv[1]))
    _PreparedCLI.cli_executor(["ansible-playbook", *sys.argv[2:]])
