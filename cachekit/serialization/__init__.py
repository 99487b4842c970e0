"""Value to bytes and back, with every byte checked; knows no keys and no stores."""

from cachekit.serialization.codecs import Codec, codec_from
from cachekit.serialization.item_reading import check_items, read_items
from cachekit.serialization.item_writing import ItemWriter
from cachekit.serialization.items import is_items
from cachekit.serialization.mapping import map_value
from cachekit.serialization.persistence import dump, load
from cachekit.serialization.signing import Label, Seal
from cachekit.serialization.streams import CompressorWrapper, register_compressor
from cachekit.serialization.values import (
    read_plain,
    read_value,
    write_value,
    write_value_to,
)

__all__ = [
    "Codec",
    "CompressorWrapper",
    "ItemWriter",
    "Label",
    "Seal",
    "check_items",
    "codec_from",
    "dump",
    "is_items",
    "load",
    "map_value",
    "read_items",
    "read_plain",
    "read_value",
    "register_compressor",
    "write_value",
    "write_value_to",
]
