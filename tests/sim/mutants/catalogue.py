"""Bugs put back in: each a small change of the code as it is shipped, which the simulator must notice.

A mutant names the text that it replaces; when that text is not there exactly once, the mutant no longer applies, and
that is an error: a mutant that changes nothing proves nothing.
"""

from typing import Final

from tests.sim.mutants import consensus, members, service, state

MUTANTS: Final = (*consensus.MUTANTS, *state.MUTANTS, *members.MUTANTS, *service.MUTANTS)
