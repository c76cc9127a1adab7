import time
from email.utils import formatdate

import pytest

from pipeline.net.answer import refusal, wait_asked_for
from schemas.status import ImageStatus


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (404, ImageStatus.NOT_FOUND),
        (410, ImageStatus.GONE),
        (401, ImageStatus.FORBIDDEN),
        (403, ImageStatus.FORBIDDEN),
        (451, ImageStatus.FORBIDDEN),
        (429, ImageStatus.RATE_LIMITED),
        (500, ImageStatus.SERVER_ERROR),
        (503, ImageStatus.SERVER_ERROR),
        (408, ImageStatus.SERVER_ERROR),
        (421, ImageStatus.SERVER_ERROR),
        (425, ImageStatus.SERVER_ERROR),
        (599, ImageStatus.SERVER_ERROR),
        (206, ImageStatus.HTTP_ERROR),
        (304, ImageStatus.HTTP_ERROR),
        (418, ImageStatus.HTTP_ERROR),
        (499, ImageStatus.HTTP_ERROR),
    ],
)
def test_a_refusing_code_has_a_status_and_a_text(code: int, status: ImageStatus) -> None:
    answer = refusal(code, None)
    assert answer is not None
    assert (answer.status, answer.error, answer.retry_after_s) == (status, f"HTTP {code}", 0.0)


def test_a_code_of_success_refuses_nothing() -> None:
    assert refusal(200, None) is None
    assert refusal(203, None) is None


def test_a_server_may_ask_for_seconds_or_name_a_date() -> None:
    assert wait_asked_for("120") == 120.0
    assert 3500 < wait_asked_for(formatdate(time.time() + 3600, usegmt=True)) <= 3600
    assert wait_asked_for("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1.5"])
def test_a_wait_that_cannot_be_read_is_none(header: str | None) -> None:
    assert wait_asked_for(header) == 0.0
