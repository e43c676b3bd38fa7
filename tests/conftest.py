"""Before numpy is imported anywhere: one BLAS thread, as the program itself runs with.

On a busy machine OpenBLAS's threads spin while they wait, and take several times the CPU of the small products that
they help with.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
