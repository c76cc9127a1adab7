"""Whatever stands beside the pixels: it costs no image, and of all of it the orientation alone counts."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.images.decode import decode
from pipeline.images.header import inspect
from pipeline.images.metadata import bare, orientation

LIMIT = 1_000_000
ORIENTATION, SOFTWARE, WIDTH = 0x0112, 0x0131, 0x0100
SHORT, LONG, RATIONAL, SIGNED, FLOAT = 3, 4, 5, 9, 11
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"


def picture() -> Image.Image:
    image = Image.new("RGB", (48, 32), "white")
    image.paste("red", (0, 0, 24, 16))
    return image


def block(*entries: tuple[int, int, bytes], order: str = ">") -> bytes:
    """An EXIF block with these (tag, type, four bytes of value)."""
    start = {">": b"MM\0*", "<": b"II*\0"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    packed = [struct.pack(f"{order}HHI", tag, kind, 1) + value for tag, kind, value in entries]
    return start + b"".join(packed) + bytes(4)


def turned(order: str = ">", kind: int = SHORT) -> tuple[int, int, bytes]:
    return ORIENTATION, kind, struct.pack(f"{order}{'I' if kind == LONG else 'H'}", 6).ljust(4, b"\0")


def jpeg(*segments: bytes, image: Image.Image | None = None) -> bytes:
    buffer = BytesIO()
    (image or picture()).save(buffer, "JPEG", quality=95)
    whole = [b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment for segment in segments]
    return buffer.getvalue()[:2] + b"".join(whole) + buffer.getvalue()[2:]


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    buffer = BytesIO()
    picture().save(buffer, "PNG")
    data = buffer.getvalue()
    packed = [
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text)) for kind, text in chunks
    ]
    return data[:33] + b"".join(packed) + data[33:]


def webp(exif: bytes) -> bytes:
    buffer = BytesIO()
    picture().save(buffer, "WEBP", lossless=True, exif=exif)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    inspect(data, LIMIT)
    return np.asarray(decode(data, "exif", None, LIMIT))


ODD_TAGS = {
    "a rational without a value": (SOFTWARE, RATIONAL, b"\xff\xff\xff\xff"),
    "a negative width": (WIDTH, SIGNED, b"\xff\xff\xff\xff"),
    "a fraction in place of a number": (0x0213, FLOAT, b"\x3f\x80\0\0"),
    "a directory that lies nowhere": (0x8769, LONG, b"\x7f\xff\xff\xff"),
    "a type that does not exist": (SOFTWARE, 99, b"abcd"),
}


@pytest.mark.parametrize("odd", ODD_TAGS.values(), ids=ODD_TAGS)
@pytest.mark.parametrize("make", [lambda exif: jpeg(b"Exif\0\0" + exif), lambda exif: png((b"eXIf", exif)), webp])
def test_an_odd_tag_costs_neither_the_picture_nor_its_orientation(make, odd) -> None:
    plain, with_odd = decoded(make(block(turned()))), decoded(make(block(odd, turned())))

    assert plain.shape == (48, 32, 3)
    assert np.array_equal(with_odd, plain)


def test_a_tiff_is_turned_by_its_own_directory_whatever_else_stands_there() -> None:
    buffer = BytesIO()
    picture().save(buffer, "TIFF", tiffinfo={ORIENTATION: 6, SOFTWARE: "abcdefgh"})
    data = buffer.getvalue()
    odd = data.replace(struct.pack("<HHI", SOFTWARE, 2, 9), struct.pack("<HHI", SOFTWARE, RATIONAL, 9))

    assert odd != data
    assert np.array_equal(decoded(odd), decoded(data))
    assert decoded(data).shape == (48, 32, 3)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_a_tiff_is_turned_once_whatever_its_pixels(tag: int, big: bool) -> None:
    """Pillow gives such a file the size of the turned picture from the start."""
    grey = np.arange(48 * 32, dtype=np.uint16).reshape(32, 48) * 40
    for image in (Image.fromarray(grey), Image.fromarray((grey >> 8).astype(np.uint8)), picture()):
        plain, turned = BytesIO(), BytesIO()
        image.save(plain, "TIFF", big_tiff=big)
        image.save(turned, "TIFF", big_tiff=big, tiffinfo={ORIENTATION: tag})
        upright = Image.fromarray(decoded(plain.getvalue()))
        upright.getexif()[ORIENTATION] = tag

        assert np.array_equal(decoded(turned.getvalue()), np.asarray(ImageOps.exif_transpose(upright)))


@pytest.mark.parametrize(
    "exif",
    [b"", b"MM\0*", b"no such thing", block(turned())[:-6], block((ORIENTATION, SHORT, b"\0\x63\0\0")),
     block((ORIENTATION, RATIONAL, b"\0\0\0\x06")), b"II*\0\xff\xff\xff\xff"],
)  # fmt: skip
def test_an_orientation_that_cannot_be_read_means_upright(exif: bytes) -> None:
    assert np.array_equal(decoded(jpeg(b"Exif\0\0" + exif)), decoded(jpeg()))


@pytest.mark.parametrize(("order", "kind"), [("<", SHORT), (">", LONG), ("<", LONG)])
def test_the_orientation_is_read_in_either_byte_order_and_width(order: str, kind: int) -> None:
    assert orientation(block(turned(order, kind), order=order), b"") == 6


@pytest.mark.parametrize(
    "data",
    [
        jpeg(XMP_MARK + XMP),
        png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
        png((b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(XMP))),
        png((b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n40\n" + block(turned()).hex().encode()))),
    ],
    ids=["JPEG, XMP", "PNG, XMP", "PNG, packed XMP", "PNG, ImageMagick's profile"],
)
def test_other_places_of_the_orientation_count_too(data: bytes) -> None:
    with Image.open(BytesIO(data)) as image:
        assert image.getexif()[ORIENTATION] == 6
    assert decoded(data).shape == (48, 32, 3)


@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5_000_000))),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(5_000_000))),
        (b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(bytes(50_000_000))),
        (b"zTXt", b"Comment\0\0 not compressed at all"),
        (b"eXIf", b"\0" * 70_000),
        (b"tRNS", b""),
    ],
    ids=["text", "profile", "XMP", "broken text", "EXIF", "transparency"],
)
def test_text_and_profiles_that_a_reader_would_refuse_are_skipped(chunk: tuple[bytes, bytes]) -> None:
    assert np.array_equal(decoded(png(chunk)), decoded(png()))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "segment", [b"\xff\xe0\0\x06JFIF", b"\xff\xe0\0\x02", b"\xff\xee\0\x07Adobe", b"\xff\xee\0\x02"]
)
def test_a_segment_of_colours_that_is_cut_short_is_skipped(segment: bytes, mode: str) -> None:
    whole = jpeg(image=picture().convert(mode))
    assert np.array_equal(decoded(whole[:2] + segment + whole[2:]), decoded(whole))


def test_only_what_stands_beside_the_pixels_is_left_out() -> None:
    cmyk = jpeg(
        b"Exif\0\0" + block(turned()), image=picture().convert("CMYK")
    )  # its colours hang on a segment of Adobe
    palette = BytesIO()
    picture().convert("P").save(palette, "PNG", transparency=3)
    for data in (jpeg(), cmyk, png(), palette.getvalue()):
        with Image.open(BytesIO(data)) as whole, Image.open(BytesIO(bare(data).data)) as left:
            assert np.array_equal(whole.convert("RGB"), left.convert("RGB"))
    assert bare(b"GIF89a").data == b"GIF89a"
