"""Value to bytes and back, with every byte checked; knows no keys and no stores."""

from cachekit.serialization.codecs import Codec, codec_from
from cachekit.serialization.persistence import dump, load, read_value, write_value
from cachekit.serialization.signing import Label, Seal
from cachekit.serialization.streams import CompressorWrapper, register_compressor

__all__ = [
    "Codec",
    "CompressorWrapper",
    "Label",
    "Seal",
    "codec_from",
    "dump",
    "load",
    "read_value",
    "register_compressor",
    "write_value",
]
