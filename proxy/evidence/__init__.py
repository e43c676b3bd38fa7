"""Evidence: integer counts of pairs, and everything that is concluded from them.

Read in this order: `process.wealth` (how a bet on counts becomes an e-value), `families.rate` and `families.mean` (two
rules whole), `families.guard` (all that is known of a guard), `rules.big_change` (one), `count_store` (where the counts
are), `evidence` (readings in, assessment out).
"""

from proxy.evidence.evidence import Evidence, EvidenceError
from proxy.evidence.input.reorder_buffer import ReorderBuffer
from proxy.evidence.tripwire import Tripwire

__all__ = ["Evidence", "EvidenceError", "ReorderBuffer", "Tripwire"]
