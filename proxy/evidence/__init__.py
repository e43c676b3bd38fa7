"""Evidence: integer counts of pairs, and everything that is concluded from them.

Read in this order: `wealth` (how a bet on counts becomes an e-value), `rate` and `mean` (two rules whole), `guards`
(which rule a guard's name stands for), `tally` (where the counts are), `evidence` (readings in, assessment out).
"""

from proxy.evidence.evidence import Evidence, EvidenceError
from proxy.evidence.input.order import RequestOrder
from proxy.evidence.rules.tripwire import Tripwire

__all__ = ["Evidence", "EvidenceError", "RequestOrder", "Tripwire"]
