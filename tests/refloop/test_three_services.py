"""The example of the three services: its three forms give the same pages."""

from __future__ import annotations

import pytest

import refloop
from refloop.rpc import Json, three_services

FOR_EVER = refloop.SECOND * 3600


@pytest.mark.clause("RPC.STYLES.AGREE", "88f648f2")
@pytest.mark.parametrize("form", three_services.FORMS)
@pytest.mark.parametrize(
    ("user", "patience", "page"),
    [
        (1, FOR_EVER, "Hello Ada, it is a rainy day."),
        (2, 0, "Hello Alan, it is a whatever day."),
        (3, 0, three_services.NOBODY),
    ],
    ids=["all reply", "the weather is late", "the first says no"],
)
def test_each_form_gives_the_same_page(
    form: str,
    user: int,
    patience: int,
    page: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given what each of the services does, then the page is the same, whichever way it is asked for. Where
    the weather is late, it is not known before the greeting has been asked for without it."""
    asked = refloop.Event()

    async def today(name: str) -> Json:
        if name == "Alan":
            await asked.wait()
        return await three_services.today("Ada")

    async def greet(name: str, sky: str) -> Json:
        asked.set()
        return await three_services.greet(name, sky)

    monkeypatch.setattr(three_services, "PATIENCE", patience)
    people, _, _ = three_services.SERVICES
    monkeypatch.setattr(three_services, "SERVICES", (people, {"today": today}, {"greet": greet}))
    with three_services.served() as sockets:
        assert three_services.FORMS[form](sockets, [user]) == [page]


def test_the_example_prints_what_each_form_gives(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(three_services, "PATIENCE", FOR_EVER)
    three_services.main([1, 3])
    lines = ["    Hello Ada, it is a rainy day.", f"    {three_services.NOBODY}"]
    assert capsys.readouterr().out.splitlines() == [
        *("blocking", *lines, "callbacks", *lines, "coroutines", *lines)
    ]
