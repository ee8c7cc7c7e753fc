"""The demo, in virtual time."""

from __future__ import annotations

from support.logins import Printed

from ccactivity.cli.demo import demo


async def test_demo(capsys: Printed) -> None:
    """The demo submits imports, watches all to their end, of which one fails, and keeps the vendor's rules."""
    code = await demo(20)
    out = capsys.readouterr().out

    assert 0 == code
    assert "1 failed" in out
    assert "All 20 imports ended within" in out
    assert "refused by the vendor 0" in out
    assert "import  20" in out
