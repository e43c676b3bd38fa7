"""What tests of the whole program share."""

from tests.postgres import mortal_postgres, postgres, postgres_cluster, postgres_server

__all__ = ["mortal_postgres", "postgres", "postgres_cluster", "postgres_server"]
