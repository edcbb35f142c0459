"""Change an ONNX file's bytes without the package onnx: add metadata, leave out an output.

The file is a protocol buffer. The numbers of its fields are those of onnx.proto.
"""

from collections.abc import Iterator

METADATA, GRAPH = 14, 7  # fields of ModelProto
ENTRY_KEY, ENTRY_VALUE = 1, 2  # of the metadata
NODE, OUTPUT = 1, 12  # of GraphProto
NAME = 1  # of an output
READS, WRITES, ATTRIBUTE = 1, 2, 5  # of a node: names of values, and options
BRANCHES = (6, 11)  # of an attribute: a graph, or several
FIXED = {1: 8, 5: 4}  # bytes of a number, by wire type
VARINT, BYTES = 0, 2  # the other wire types


def with_metadata(model: bytes, key: str, value: str) -> bytes:
    """Return an ONNX file with one more metadata entry: a protocol buffer may be extended."""
    entry = _field(ENTRY_KEY, key.encode()) + _field(ENTRY_VALUE, value.encode())
    return model + _field(METADATA, entry)


def without_output(model: bytes, name: str) -> bytes:
    """Return an ONNX file without an output of its graph and the nodes that only this one needs.

    Onnxruntime computes every node, whichever outputs it is asked for.

    Args:
        model: the file.
        name: of the output; without it the file is unchanged.

    Raises:
        ValueError: if the file is damaged.
    """
    parts = [
        _field(GRAPH, _graph_without(content, name.encode())) if number == GRAPH else whole
        for number, whole, content in _fields(memoryview(model))
    ]
    return b"".join(parts)


def _graph_without(graph: memoryview, name: bytes) -> bytes:
    fields = list(_fields(graph))
    outputs = {_texts(content, NAME)[0] for number, _, content in fields if number == OUTPUT}
    needed, kept = outputs - {name}, []
    for number, whole, content in reversed(fields):  # a node comes after those that it needs
        if number == NODE and needed.isdisjoint(_texts(content, WRITES)):
            continue
        if number == OUTPUT and name in _texts(content, NAME):
            continue
        if number == NODE:
            needed.update(_read_by(content))
        kept.append(whole)
    return b"".join(reversed(kept))


def _read_by(node: memoryview) -> Iterator[bytes]:
    """Yield the names of the values that a node reads, also within its branches."""
    yield from filter(None, _texts(node, READS))  # "" is an input left out
    for number, _, attribute in _fields(node):
        if number == ATTRIBUTE:
            for kind, _, graph in _fields(attribute):
                if kind in BRANCHES:
                    for field, _, inner in _fields(graph):
                        if field == NODE:
                            yield from _read_by(inner)


def _texts(message: memoryview, field: int) -> list[bytes]:
    """Return the values of a field of text."""
    return [bytes(content) for number, _, content in _fields(message) if number == field]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield number, all bytes and content of each field; a number's content is empty.

    Raises:
        ValueError: if the message ends within a field, or is none.
    """
    at = 0
    while at < len(message):
        start = content = at
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _, at = _varint(message, at)
            content = at
        elif kind == BYTES:
            length, content = _varint(message, at)
            at = content + length
        elif kind in FIXED:
            content = at = at + FIXED[kind]
        else:
            raise ValueError(f"a field of wire type {kind}")
        if at > len(message):
            raise ValueError("the message ends within a field")
        yield number, message[start:at], message[content:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number in base 128, the lowest digit first, and where it ends."""
    value = shift = 0
    while at < len(message):
        value |= (message[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 128:
            return value, at
    raise ValueError("the message ends within a number")


def _field(number: int, content: bytes) -> bytes:
    """Return a field of bytes."""
    length, left = bytearray(), len(content)
    while left > 127:
        length.append(left & 127 | 128)
        left >>= 7
    return bytes([number << 3 | BYTES, *length, left]) + content
