"""Which tests of hosts one worker runs."""

from pathlib import Path

from tests.hosts.scheduling import place, scope

HERE = Path(__file__).parent


def test_every_module_that_boots_hosts_has_its_place() -> None:
    """None is forgotten, and none has a place that is not there any more."""
    modules = {path.stem for path in HERE.glob("test_*.py") if "pytest.mark.hosts" in path.read_text()}
    assert modules - {Path(__file__).stem} == {path.stem for path in HERE.glob("*.py") if place(path.stem) < place("")}


def test_one_worker_runs_all_tests_of_the_lab() -> None:
    """Each other worker would boot the same hosts; all else is given out one by one."""
    assert scope("tests/hosts/test_lab.py::test_a") == scope("tests/hosts/test_service.py::test_b[1]")
    assert scope("tests/hosts/test_deploy_site.py::test_a") != scope("tests/hosts/test_deploy_site.py::test_b")
