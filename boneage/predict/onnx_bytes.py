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
    needed = {
        bytes(text) for output in _contents(graph, OUTPUT) for text in _contents(output, NAME)
    }
    needed.discard(name)
    kept = []
    for number, whole, content in reversed([*_fields(graph)]):  # a node comes after what it reads
        if number == NODE:
            if needed.isdisjoint(map(bytes, _contents(content, WRITES))):
                continue
            needed.update(_read_by(content))
        elif number == OUTPUT and name in map(bytes, _contents(content, NAME)):
            continue
        kept.append(whole)
    return b"".join(reversed(kept))


def _read_by(node: memoryview) -> Iterator[bytes]:
    """Yield the names of the values that a node reads, also within its branches."""
    yield from filter(None, map(bytes, _contents(node, READS)))  # "" is an input left out
    for attribute in _contents(node, ATTRIBUTE):
        for branch in _contents(attribute, *BRANCHES):
            for inner in _contents(branch, NODE):
                yield from _read_by(inner)


def _contents(message: memoryview, *numbers: int) -> list[memoryview]:
    """Return the contents of the fields of some numbers."""
    return [content for number, _, content in _fields(message) if number in numbers]


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
