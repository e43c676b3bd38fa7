"""Evidence: integer counts of pairs, and everything that is concluded from them.

Read in this order: `wealth` (how a bet on counts becomes an e-value), `rate` and `mean` (two rules whole), `guards`
(which rule a guard's name stands for), `count_store` (where the counts are), `evidence` (readings in, assessment out).
"""

from proxy.evidence.evidence import Evidence, EvidenceError
from proxy.evidence.input.reorder_buffer import ReorderBuffer
from proxy.evidence.tripwire import Tripwire

__all__ = ["Evidence", "EvidenceError", "ReorderBuffer", "Tripwire"]
