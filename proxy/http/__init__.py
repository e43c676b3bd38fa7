"""HTTP as bytes: heads, where a message ends, HTTP/2, and the answers that the proxy gives itself. No I/O."""
