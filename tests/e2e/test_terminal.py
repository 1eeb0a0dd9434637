"""What the commands for operators say of a cluster that has lost a node."""

import asyncio

import pytest

from raftd.errors import ExitCode
from tests.e2e.conftest import MakeCluster
from tests.e2e.test_raftctl import Raftctl
from tests.e2e.workload import more_writes, writing

pytestmark = pytest.mark.e2e


def test_top_and_doctor_find_a_dead_leader(make_cluster: MakeCluster) -> None:
    """Its line stays, with the reason; the others follow the new leader, and each finding says what to do."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        raftctl = Raftctl(cluster)
        async with writing(cluster) as writers:
            await more_writes(writers, 20)
            first, *_ = (await raftctl.run("top")).decode().splitlines()
            assert first == f"e2e: node {leader.id} leads term 1; 3 of 3 nodes answer"
            term = await cluster.term()
            leader.kill()
            new = await cluster.leader(above_term=term)
            await more_writes(writers, 20)
            first, _, _, *lines = (await raftctl.run("top", code=ExitCode.UNHEALTHY)).decode().splitlines()
            assert first.startswith(f"e2e: node {new.id} leads term ")
            assert first.endswith("2 of 3 nodes answer")
            assert [int(line.split()[0]) for line in lines] == [1, 2, 3]
            findings = await raftctl.json("doctor", "--problems", code=ExitCode.UNHEALTHY)
        by_check = {finding["check"]: finding for finding in findings if finding["result"] != "not known"}
        assert all(finding["advice"] for finding in findings)
        assert by_check["quorum"]["found"] == "2 of 3 voters answer, and 2 must"
        assert any(f["check"] == "node" and f["of"] == f"node {leader.id}" and f["result"] == "bad" for f in findings)

    asyncio.run(scenario())
