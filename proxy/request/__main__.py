"""`python -m proxy.request`: the table of a request, for whoever reads a trace or reports a bug."""

import sys

from proxy.request.machine import described

sys.stdout.write(described())
