"""What breaks by itself heals by itself: power, cables and pauses, without anybody's hands, and nothing is lost."""

import pytest

from tests.hosts.cluster import HostCluster
from tests.hosts.load import writing
from tests.hosts.test_service import until_status_says
from tests.hosts.waiting import until_found

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240, func_only=True)]


def another_leads(cluster: HostCluster, former: int) -> None:
    """Wait until the nodes that can be reached follow somebody else."""

    def is_so() -> bool:
        reachable = [status for number, status in cluster.status().items() if number != former]
        return bool(reachable) and all(status["leader_id"] not in {None, former} for status in reachable)

    until_found(is_so, f"another than {former} leads")


def test_power_is_cut_from_each_host_in_turn(cluster: HostCluster) -> None:
    """Each host in turn, leaders too, loses its power under load and gets it back: no write fails, none is lost."""
    with writing(cluster.client) as writer:
        for number in cluster.nodes:
            host = cluster.nodes[number]
            host.cut_power()
            writer.more(50)
            host.power_on()
            host.until_up()
            cluster.until_well()
            writer.more(50)
    assert writer.count("failed") == 0


def test_power_is_cut_from_all_at_once(cluster: HostCluster) -> None:
    """All hosts lose their power under load: when it is back, so is the service, with all that was acknowledged."""
    with writing(cluster.client) as writer:
        writer.more(100)
        for host in cluster.nodes.values():
            host.cut_power()
        for host in cluster.nodes.values():
            host.power_on()
        cluster.until_well()
        writer.more(50)


def test_the_leader_s_cable_is_pulled(cluster: HostCluster) -> None:
    """The leader loses its network: the others elect another, writes go on, and it follows when it is back."""
    former = cluster.leader()
    host = cluster.nodes[former]
    with writing(cluster.client) as writer:
        host.unplug()
        another_leads(cluster, former)
        writer.more(50)
        host.plug()
        cluster.until_well()
        writer.more(50)
    assert writer.count("failed") == 0


def test_all_cables_are_pulled(cluster: HostCluster) -> None:
    """Nobody reaches anybody: nothing is acknowledged meanwhile, and all is well once the cables are back."""
    with writing(cluster.client) as writer:
        for host in cluster.nodes.values():
            host.unplug()
        before = writer.count("ok")
        for number, host in cluster.nodes.items():
            until_status_says(host, number, "no leader")
        assert writer.count("ok") <= before + 1  # one may have been acknowledged while the first cable was pulled
        for host in cluster.nodes.values():
            host.plug()
        cluster.until_well()
        writer.more(50)


def test_the_leader_loses_one_follower(cluster: HostCluster) -> None:
    """A link between the leader and one follower is cut: the service goes on, and heals with the link."""
    leader = cluster.leader()
    follower = cluster.followers()[0]
    with writing(cluster.client) as writer:
        cluster.lab.partition(cluster.nodes[leader].name, cluster.nodes[follower].name)
        writer.more(100)
        cluster.lab.heal()
        cluster.until_well()
        writer.more(50)
    assert writer.count("failed") == 0


def test_the_leader_s_host_stands_still(cluster: HostCluster) -> None:
    """The leader's host freezes: another leads. It thaws, and follows, without having been restarted."""
    former = cluster.leader()
    host = cluster.nodes[former]
    pid = host.shell(f"systemctl show --property=MainPID --value raftd@{former}")
    with writing(cluster.client) as writer:
        host.freeze()
        another_leads(cluster, former)
        writer.more(50)
        host.thaw()
        cluster.until_well()
        writer.more(50)
    assert writer.count("failed") == 0
    assert host.shell(f"systemctl show --property=MainPID --value raftd@{former}") == pid
