"""Bugs of memberships, hand-overs, leases, pre-votes and lost disks, and of two releases in one cluster."""

from typing import Final

from tests.sim.mutants.mutant import Mutant

MUTANTS: Final = (
    # Membership (§6, thesis §4), transfers (thesis §3.10) and leases (thesis §6.4.1).
    Mutant(
        "joint_commit_by_one_majority",
        "a joint membership commits by the new voters alone",
        "consensus/quorum.py",
        "    if membership.outgoing:\n        value",
        "    if not membership.voters:\n        value",
    ),
    Mutant(
        "joint_election_by_one_majority",
        "a joint membership elects by the new voters alone",
        "consensus/quorum.py",
        "not membership.outgoing or _is_majority(membership.outgoing, nodes)",
        "True",
    ),
    Mutant(
        "learner_counted",
        "who has the log counts for a commit, voter or not",
        "consensus/quorum.py",
        "for voter in voters], reverse",
        "for voter in {*voters, *reached}], reverse",
    ),
    Mutant(
        "second_change_admitted",
        "a change begins before the last one is committed",
        "consensus/reconfiguration.py",
        "        if node.memberships.index > node.commit_index:\n            return RefusalReason.CHANGE_RUNS\n",
        "",
    ),
    Mutant(
        "membership_not_rolled_back",
        "a membership stays in force when its entry is replaced",
        "consensus/node.py",
        "        self.memberships.truncate(first_removed)\n",
        "",
    ),
    Mutant(
        "simple_change_of_many",
        "voters change without a joint membership",
        "consensus/change_rules.py",
        "    if target.voters == membership.voters:\n        return target\n    leaving",
        "    if target.voters:\n        return target\n    leaving",
    ),
    Mutant(
        "unproven_nodes_vote",
        "nodes with a new disk vote as all others do",
        "consensus/proof.py",
        "return node.unproven == request.unproven or request.unanimous",
        "return True",
    ),
    Mutant(
        "lease_not_shortened_by_drift",
        "a lease is as long as an election timeout, whatever clocks do",
        "consensus/lease.py",
        "int((limits.election_timeout_ticks - 2) / (1 + limits.clock_drift))",
        "limits.election_timeout_ticks - 2",
    ),
    Mutant(
        "lease_outlives_a_pause",
        "a process that stood still reads by the lease that it had before",
        "node/driver.py",
        "self.raft.request_read(self._overdue_ticks())",
        "self.raft.request_read()",
    ),
    Mutant(
        "lease_not_guarded",
        "nodes vote although a leader may rely on its lease",
        "consensus/election.py",
        "            node.limits.lease_reads\n            and node.current_term > 0",
        "            node.limits.no_lead\n            and node.current_term > 0",
    ),
    Mutant(
        "lease_survives_a_transfer",
        "a leader that has told another one to campaign reads by its lease",
        "consensus/lease.py",
        "if node.transfer_target is not None or self._transfer.told_term == node.current_term:",
        "if node.limits.no_lead:",
    ),
    Mutant(
        "transfer_without_catching_up",
        "whoever is handed over to is told before it has the log",
        "consensus/transfer.py",
        "progress is not None and progress.match_index == node.log.last_index",
        "progress is not None",
    ),
    # Pre-votes (thesis §9.6), disks that stand still, and disks that were lost.
    Mutant(
        "pre_vote_off",
        "a node whose timer ran out begins a term without asking whether it would be elected",
        "consensus/election.py",
        "        if not self._has_won():\n",
        "        if False:\n",
    ),
    Mutant(
        "pre_vote_despite_leader",
        "a node that hears a leader would vote for another one",
        "consensus/election.py",
        "            if self.hears_leader():\n                return\n            may_vote = True\n",
        "            may_vote = True\n",
    ),
    Mutant(
        "vote_despite_leader",
        "a node that hears a leader votes for another one, who so deposes it",
        "consensus/dispatch.py",
        "message.term > self._node.current_term and self._election.hears_leader()",
        "False",
    ),
    Mutant(
        "stalled_disk_leads_on",
        "a leader whose disk stands still goes on, since its heartbeats need no disk",
        "consensus/raft.py",
        "        if self._node.role is not Role.LEADER or ticks < patience:\n",
        "        if self._node.role is not Role.LEADER or ticks > 0:\n",
    ),
    Mutant(
        "change_before_commit_in_term",
        "a new leader changes the membership before it has committed anything",
        "consensus/reconfiguration.py",
        "        if not node.has_committed_in_term:\n            return RefusalReason.TERM_NOT_COMMITTED\n",
        "",
    ),
    Mutant(
        "delayed_append_not_cut",
        "a delayed AppendEntries that begins before the log is appended as it is",
        "consensus/follower.py",
        "            entries = entries[node.log.base_index - prev_index :]\n",
        "",
    ),
    Mutant(
        "unanimous_by_the_voters_membership",
        "a voter on a new disk judges by the membership that it began with whether all votes are needed",
        "consensus/proof.py",
        "return node.unproven == request.unproven or request.unanimous",
        "return node.unproven == request.unproven or needs_every_vote(node)",
    ),
    Mutant(
        "proven_by_its_own_log",
        "a new disk is taken for whole when it has what of the commits the first message brought",
        "consensus/proof.py",
        "        node.proof_target = node.current_term, leader_commit\n",
        "        node.proof_target = node.current_term, min(leader_commit, node.log.last_index)\n",
    ),
    Mutant(
        "new_disk_counts",
        "what a node on a new disk says counts at once, also for a leader that it helped to replace",
        "consensus/progress.py",
        "self.doubted_round = self.begun_round + 1",
        "self.doubted_round = 0",
    ),
    Mutant(
        "new_disk_confirms",
        "a peer that was out of reach confirms heartbeat rounds before it has shown its log",
        "consensus/progress.py",
        "return 0 if self.is_doubtful else self.confirmed_round",
        "return 0 if self.doubted_round else self.confirmed_round",
    ),
    Mutant(
        "new_disk_told_of_commits",
        "a node on a new disk vouches for itself by what a leader says that was replaced",
        "consensus/replication.py",
        "commit_index = NO_INDEX if progress.is_doubtful else node.commit_index",
        "commit_index = node.commit_index",
    ),
    # Two releases in one cluster.
    Mutant(
        "newest_version_to_everybody",
        "a node of this release speaks its own version, whatever was agreed with the peer",
        "node/driver.py",
        "            version = self._network.version(peer)\n",
        "            version = peer_codec.PEER_VERSION_MAX\n",
    ),
)
