"""`python -m proxy` is `understudy`."""

from proxy.cli import main

main()
