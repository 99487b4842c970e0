"""Value to bytes and back, with every byte checked; knows no keys and no stores."""

from cachekit.serialization.codecs import Codec, codec_from
from cachekit.serialization.persistence import read_value, write_value

__all__ = ["Codec", "codec_from", "read_value", "write_value"]
