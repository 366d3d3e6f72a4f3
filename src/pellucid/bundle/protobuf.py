"""Enough of protobuf to look into an ONNX graph without the onnx package: the fields of a message, and integers.

`spans` and `length_delimited` suffice to write a message again with other bytes in it.
"""

from __future__ import annotations

from collections.abc import Iterator


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message: number and bytes, which for an integer are its own. IndexError if it is cut short."""
    for number, value, _ in spans(message):
        yield number, value


def spans(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """As `fields`, with the bytes of the whole field, its key and length included."""
    place, end = 0, len(message)
    while place < end:
        begin = place
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        start = place
        if wire == 0:
            _, place = _varint(message, place)
        elif wire == 2:
            length, start = _varint(message, place)
            place = start + length
        else:
            place += 8 if wire == 1 else 4
        if place > end:
            raise IndexError("the message ends within a field")
        yield number, message[start:place], message[begin:place]


def length_delimited(number: int, value: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return _written(number << 3 | 2) + _written(len(value)) + value


def _written(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def varints(data: memoryview) -> list[int]:
    """The integers that lie one after the other."""
    found, place = [], 0
    while place < len(data):
        value, place = _varint(data, place)
        found.append(value)
    return found


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
        shift += 7
