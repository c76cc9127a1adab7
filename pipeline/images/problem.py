"""Why the bytes of an image give no pixels."""

from schemas.status import ImageStatus


class ImageProblem(Exception):  # noqa: N818 - an outcome of one image, not a fault of the program
    """An image that cannot be used; the text says what was found.

    Attributes:
        status: what the image's row will say.
    """

    def __init__(self, status: ImageStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
