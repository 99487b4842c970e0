"""The server that some of the commands talk to."""

from tests.stores.servers import moto_s3_server

__all__ = ["moto_s3_server"]
