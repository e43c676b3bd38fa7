"""gRPC on a listener of its own: HTTP/2 on both sides, the same exchange, pairs and trials in the middle.

    server.py   clients' connections, and each call's client side
    call.py     one call: an exchange that knows when a call is unary
    pool.py     connections to one upstream, each carrying many calls
    model.py    one such connection, and each call's model side
    wire.py     what connections on both sides share
    health.py   checks of upstreams by a gRPC method

Bodies pass through as bytes, messages with their prefixes; nothing here knows a message's fields.
"""
