"""The example of the three services: its three forms give the same pages."""

from __future__ import annotations

import pytest

import refloop
from examples import three_services

FORMS = (three_services.by_blocking, three_services.by_callbacks, three_services.by_coroutines)


@pytest.mark.clause("RPC.STYLES.AGREE", "88f648f2")
@pytest.mark.parametrize(
    ("user", "patience", "page"),
    [
        (1, refloop.SECOND * 3600, "Hello Ada, it is a rainy day."),
        (2, 0, "Hello Alan, it is a whatever day."),
        (3, 0, three_services.NOBODY),
    ],
    ids=["all reply", "the weather is late", "the first says no"],
)
def test_the_three_forms_give_the_same_page(
    user: int, patience: int, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(three_services, "PATIENCE", patience)
    with three_services.serving() as addresses:
        assert [form(addresses, [user]) for form in FORMS] == [[page]] * 3


def test_the_example_prints_what_each_form_gives(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(three_services, "PATIENCE", refloop.SECOND * 3600)
    three_services.main([1, 3])
    forms = capsys.readouterr().out.split("by_")[1:]
    assert [form.partition("\n")[0] for form in forms] == ["blocking", "callbacks", "coroutines"]
    assert {form.partition("\n")[2] for form in forms} == {
        f"    Hello Ada, it is a rainy day.\n    {three_services.NOBODY}\n"
    }
