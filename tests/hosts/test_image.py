from pathlib import Path

import pytest

from tests.hosts import image as module


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"RAFTD_HOSTS_CACHE": "/srv/hosts", "XDG_CACHE_HOME": "/x"}, "/srv/hosts"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/raftd-hosts"),
        ({}, f"{Path.home()}/.cache/raftd-hosts"),
    ],
)
def test_images_lie_outside_of_the_tree(environment: dict[str, str], directory: str) -> None:
    """An image is kept where the environment says, or in the user's cache."""
    assert module.cache_directory(environment) == Path(directory)


def test_an_image_is_made_once_and_a_half_made_one_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted build has left is made anew; what is finished is used as it is."""
    monkeypatch.setenv("RAFTD_HOSTS_CACHE", str(tmp_path))
    builds: list[Path] = []

    def bootstrap(root: Path) -> None:
        builds.append(root)
        root.mkdir()
        (root / "file").touch()

    def interrupted(_root: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_bootstrap", bootstrap)
    monkeypatch.setattr(module, "_prepare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module.image()
    monkeypatch.setattr(module, "_prepare", lambda _: None)
    made = module.image()
    assert (made / "file").exists()
    assert module.image() == made
    assert len(builds) == 2
