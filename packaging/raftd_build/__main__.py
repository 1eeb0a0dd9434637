"""`python -m raftd_build WHAT`, with packaging/ on PYTHONPATH; the Makefile does that."""

import sys
import tempfile
from pathlib import Path

import click

from raftd_build.catalog import catalog
from raftd_build.dashboards import write_dashboards
from raftd_build.packages import build_deb, build_rpm
from raftd_build.source import ROOT, read_source
from raftd_build.tools import BuildError
from raftd_build.wheelhouse import build_wheelhouse

_BUILDERS = {"deb": build_deb, "rpm": build_rpm, "wheelhouse": build_wheelhouse}


@click.command()
@click.argument("what", type=click.Choice([*_BUILDERS, "catalog", "dashboards"]))
@click.option("--directory", type=click.Path(path_type=Path), default=ROOT / "dist", help="Where it goes.")
def main(what: str, directory: Path) -> None:
    """Build one of raftd's packages, and print its path; or print the journal's catalogue, or write the dashboards."""
    if what == "catalog":
        sys.stdout.write(catalog())
        return
    if what == "dashboards":
        for path in write_dashboards(ROOT / "deploy" / "monitoring" / "dashboards"):
            click.echo(path)
        return
    with tempfile.TemporaryDirectory(prefix="raftd-build-") as scratch:
        try:
            click.echo(_BUILDERS[what](directory.resolve(), Path(scratch), read_source()))
        except BuildError as error:
            raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
