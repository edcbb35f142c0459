"""Images inside a page."""

import base64


def data_uri(image: bytes, kind: str = "png") -> str:
    """Return a PNG (or JPEG) as text that stands in for its address in a page."""
    return f"data:image/{kind};base64," + base64.b64encode(image).decode()
