import pytest

from pipeline.net.target import AddressError, judged


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("http://a.example/b.jpg", "http://a.example/b.jpg"),
        (" \t\u00a0http://a.example/b.jpg\r\n", "http://a.example/b.jpg"),
        ("HTTP://A.Example", "http://a.example/"),
        ("http://a.example?q=1 2", "http://a.example/?q=1%202"),
        ("http://a.example/caf\u00e9?caf\u00e9#caf\u00e9", "http://a.example/caf%C3%A9?caf%C3%A9"),
        ("http://a.example/caf%C3%A9/100%", "http://a.example/caf%C3%A9/100%"),
        ("http://b\u00fccher.example:8080/", "http://xn--bcher-kva.example:8080/"),
        ("http://me:a\u00e9@a.example/", "http://me:a%C3%A9@a.example/"),
        ("http://[2606:4700:0::1111]:80/a", "http://[2606:4700::1111]:80/a"),
        ("http://a.example./a", "http://a.example./a"),
    ],
)
def test_an_address_is_written_one_way(text: str, sent: str) -> None:
    assert judged(text).address == sent
    assert judged(sent).address == sent


@pytest.mark.parametrize(
    "host",
    [
        "2852039166", "0xa9fea9fe", "0XA9FEA9FE", "0251.0376.0251.0376", "169.254.43518", "169.254.169.254.",
        "169.16689662", "\uff11\uff16\uff19.254.169.254", "169\u3002254\u3002169\u3002254", "user@2852039166",
        "a@b@2852039166", "user:\\@2852039166", "%31%36%39.254.169.254", "169.254.169.\u00ad254",
    ],
)  # fmt: skip
def test_a_host_of_numbers_is_sent_in_one_spelling(host: str) -> None:
    target = judged(f"http://{host}:80/a")
    assert target.host == "169.254.169.254"
    assert target.origin == "http://169.254.169.254:80"
    assert target.address.endswith("169.254.169.254:80/a")


@pytest.mark.parametrize(
    ("host", "sent"), [("10.1", "10.0.0.1"), ("0", "0.0.0.0"), ("0x", "0.0.0.0"), ("0.0.0.0x7f", "0.0.0.127")]
)
def test_numbers_that_are_left_out_are_zero(host: str, sent: str) -> None:
    assert judged(f"http://{host}/").host == sent


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected an http\\(s\\) address, got the scheme ''"),
        ("//a.example/b", "got the scheme ''"),
        ("\u200bhttp://a.example/", "got the scheme ''"),
        ("javascript:alert(1)", "got the scheme 'javascript'"),
        ("http:a.example", "an address without a host"),
        ("http://user@:80/", "an address without a host"),
        ("http://a.example/" + "a" * 8_000_000, "an address of 8000017 characters, expected 65536 at most"),
        ("http://a.example/\0", "an address with a control character"),
        ("http://a.ex\tample/", "an address with a control character"),
        ("\x1b[31m", "an address with a control character"),
        *(
            (f"http://{host}/", "not a valid address")
            for host in (
                "[::1", "::1", "[::1]x", "[v1.a]", "[fe80::1%25a b]", "a b", "a..b", "\u00e4..b", "a:99999", "a:b",
                "a*b", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "4294967296", "08", "a.1", "1_0.1", "0x" + "f" * 5000,
                "9" * 5000, "%ff", "\ud800",
            )
        ),
        ("http://a.example/\ud800", "not a valid address"),
    ],
)  # fmt: skip
def test_what_no_request_can_carry_is_told_without_being_quoted(text: str, why: str) -> None:
    with pytest.raises(AddressError, match=f"{why}$") as raised:
        judged(text)
    assert str(raised.value).isprintable()


def test_a_relative_address_is_one_beside_the_answer_that_holds_it() -> None:
    base = "http://a.example/b/c.jpg"
    assert judged("d.jpg ", base).address == "http://a.example/b/d.jpg"
    assert judged("//e.example/f", base).host == "e.example"
    with pytest.raises(AddressError, match="control character"):
        judged("d\te.jpg", base)
