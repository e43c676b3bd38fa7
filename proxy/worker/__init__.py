"""A worker process: what all connections of the data plane share. Clients are in `downstream`, models in `upstream`."""
