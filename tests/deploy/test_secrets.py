"""Keys, values and private keys that playbooks carry from one place to another: nobody else can read them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from raftd.pki import create_authorities, issue_node, issue_user
from tests.deploy.playing import DEPLOY, HERE, play_tasks, pretend, tasks_of_raftd

RAFTCTL: Final = Path(sys.executable).with_name("raftctl")
HOST: Final = {"n1": {"raftd_node_id": 1, **HERE}}
CONTENT: Final = "every key and value"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    """What is closed to others is not so by the umask of who runs a playbook."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def left(pattern: str) -> set[Path]:
    return set(Path("/var/tmp").glob(pattern))  # noqa: S108 - what playbooks have left there is looked for


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_backup_to_restore_is_nobody_else_s_to_read(tmp_path: Path, ends: str) -> None:
    """It lies in a directory of a name that nobody could take before, closed to others, and is gone in the end."""
    seen = tmp_path / "seen"
    script = f'for a; do case $a in */snapshot) stat -c "%a %n" "${{a%/*}}" "$a" >{seen};; esac; done; echo "{{}}"'
    programs = pretend(tmp_path, "raftctl", script + ("" if ends == "well" else "; exit 1"))
    backup = tmp_path / "backup"
    backup.write_text(CONTENT)
    before = left("raftd-restore*")
    code, said = play_tasks(
        tmp_path,
        [tasks_of_raftd("restore")],
        HOST,
        raftd_bin=str(programs),
        raftd_backup=str(backup),
        raftd_backup_found={"cluster_id": "1"},
        raftd_cluster_name="prod",
    )
    assert (code == 0) == (ends == "well"), said
    directory, file = (line.split() for line in seen.read_text().splitlines())
    assert Path(directory[1]).name.startswith("raftd-restore-")
    assert (directory[0], file[0]) == ("700", "600")
    assert left("raftd-restore*") == before


def back_up(directory: Path, script: str, place: Path) -> tuple[int, str]:
    """Have raftctl save a backup by a shell script."""
    programs = pretend(directory, "raftctl", script)
    variables: dict[str, Any] = {"raftd_bin": str(programs), "raftd_backup_directory": str(place)}
    return play_tasks(directory, [tasks_of_raftd("backup")], HOST, raftd_cluster_name="prod", **variables)


SAVE: Final = f'for a; do :; done; echo "{CONTENT}" >"$a"; chmod 644 "$a"'


def test_a_backup_on_the_controller_is_nobody_else_s_to_read(tmp_path: Path) -> None:
    """The directory is made closed to others; one that is there stays as it is, and what is in it is closed."""
    before = left("raftd-backup-*")
    new, shared = tmp_path / "new" / "backups", tmp_path / "shared"
    shared.mkdir(mode=0o755)
    for place, mode in ((new, 0o700), (shared, 0o755)):
        code, said = back_up(tmp_path, SAVE, place)
        assert code == 0, said
        (backup,) = place.iterdir()
        assert backup.read_text() == f"{CONTENT}\n"
        assert backup.stat().st_mode & 0o777 == 0o600
        assert place.stat().st_mode & 0o777 == mode
    assert left("raftd-backup-*") == before


def test_a_backup_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """Whoever takes the newest file of the directory takes none that is still on its way, or was broken off there."""
    log = tmp_path / "log"
    pretend(tmp_path, "mv", f'stat -c "%a %s" "$1" >{log}; echo "${{1##*/}} ${{2##*/}}" >>{log}; exec /bin/mv "$@"')
    code, said = back_up(tmp_path, SAVE, tmp_path / "backups")
    assert code == 0, said
    (backup,) = (tmp_path / "backups").iterdir()
    assert log.read_text() == f"600 {len(CONTENT) + 1}\n{backup.name}.partial {backup.name}\n"


@pytest.mark.parametrize("script", ["echo no quorum >&2; exit 1", "exit 0"], ids=["not-saved", "not-there"])
def test_without_a_backup_nothing_looks_like_one(tmp_path: Path, script: str) -> None:
    """One that was not made, and one that cannot be fetched: it says so, and leaves no empty file."""
    code, said = back_up(tmp_path, script, tmp_path / "backups")
    assert code != 0
    assert "There is no backup: " in said
    assert list(tmp_path.glob("backups/*")) == []


def test_a_backup_is_fetched_by_who_logs_in() -> None:
    """By root, by way of sudo, Ansible fetches a file as one text that is in memory as a whole."""
    tasks: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "roles/raftd/tasks/backup.yml").read_text())
    steps = [step for task in tasks for step in (task, *task.get("block", ()))]
    mine = [name for step in steps if step.get("become") is False and "delegate_to" not in step for name in step]
    assert {"ansible.builtin.tempfile", "ansible.builtin.fetch"} <= set(mine)
    everywhere = "".join(path.read_text() for path in DEPLOY.rglob("*.yml"))
    assert everywhere.count("ansible.builtin.fetch:") == 1
    assert "ansible.builtin.slurp" not in everywhere


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    directory = tmp_path / "pki"
    create_authorities(directory, "prod")
    issue_node(directory, 1, ["n1"])
    issue_user(directory, "operator")
    return directory


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("issues", [True, False], ids=["host-is-lost", "nothing-is-issued"])
def test_an_authority_s_key_is_never_copied(tmp_path: Path, pki: Path, issues: bool) -> None:
    """The game day of certificates that run out breaks off anywhere, and no key is anywhere but in pki."""
    before = content(pki)
    keys = {before["peer-ca.key"], before["client-ca.key"]}
    linked = tmp_path / "linked"
    look = f'ls -l "$TMPDIR"/raftd-gameday-*/ >{linked}; find "$TMPDIR"/raftd-gameday-* -type f >>{linked}'
    pretend(tmp_path, "raftctl", f"{look}; {f'exec {RAFTCTL} $@' if issues else 'exit 1'}")
    # Nothing listens at port 1: the host has gone in the middle of it.
    silent = {"raftd_node_id": 1, "ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_become": False}
    code, said = play_tasks(
        tmp_path, [tasks_of_raftd("gameday_expire_certificate")], {"n1": silent}, raftd_pki_directory=str(pki)
    )
    assert code != 0
    assert content(pki) == before
    assert "peer-ca.key -> " in linked.read_text(), said
    copies = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.parent for path in copies if path.read_bytes() in keys} == {pki}
    if not issues:
        assert list(tmp_path.glob("raftd-gameday-*")) == []
