"""The roles of `deploy/` say the same in their defaults, in what they check, and in what is written about them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ROLES = sorted(path.name for path in (DEPLOY / "roles").iterdir())
SET_BY_PLAYBOOKS = {
    "raftd_newcomers",
    "raftd_leaving",
    "raftd_may_be_silent",
    "raftd_may_be_gone",
    "raftd_may_be_limited",
    "raftd_may_be_refused",
    "raftd_asks_later",
    "raftd_may_change_version",
    "raftd_victims",
}
"""Nobody else's to set, and so not checked."""


def load(role: str, file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "roles" / role / file).read_text())
    return loaded


def specified(role: str) -> dict[str, dict[str, Any]]:
    """What a role checks before it does anything."""
    options: dict[str, dict[str, Any]] = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_checked_and_every_check_has_its_default(role: str) -> None:
    """A variable with a default has a type, and the default that the check names is the one that counts."""
    defaults, checks = load(role, "defaults/main.yml"), specified(role)
    assert defaults.keys() - SET_BY_PLAYBOOKS <= checks.keys()
    for name, check in checks.items():
        default = defaults.get(name)
        if isinstance(default, str) and "{{" in default:
            assert check["required"] is False, name
        elif "default" in check:
            assert (name, check["default"]) == (name, defaults[name])
        elif check.get("required"):
            assert name not in defaults, name


@pytest.mark.parametrize("role", ROLES)
def test_a_role_s_variables_bear_its_name(role: str) -> None:
    """So no role's variable is taken for another's, or for the inventory's own."""
    assert all(name.startswith(f"{role}_") for name in {**load(role, "defaults/main.yml"), **specified(role)})


def test_what_tasks_note_hides_no_variable_of_the_role() -> None:
    """What a task registers is taken before the role's own variable of that name, for the rest of the playbook."""
    role = DEPLOY / "roles/raftd"
    noted = {name for path in role.rglob("*.yml") for name in re.findall(r"register: (\w+)", path.read_text())}
    assert noted
    assert noted.isdisjoint(load("raftd", "vars/main.yml"))


def test_variables_that_are_written_about_are_there() -> None:
    """docs/deploy.md names no variable that nothing knows."""
    named = set(re.findall(r"\braftd_[a-z_]+", (ROOT / "docs/deploy.md").read_text()))
    known = set(re.findall(r"\braftd_[a-z_]+", "".join(path.read_text() for path in DEPLOY.rglob("*.yml"))))
    assert named <= known
