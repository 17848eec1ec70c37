"""Where commands to workers are published, and which of several places are tried."""

from __future__ import annotations

from autoscaler.control.addresses import Address, Addresses


def test_an_address_that_reaches_old_workers_stands_for_the_plain_one():
    addresses = Addresses(tries_legacy=True)
    assert addresses.candidates(()) == (Address(prefix=""), Address(legacy=True))
    addresses.use((Address(), Address(legacy=True)))
    assert addresses.current == (Address(legacy=True),)
    assert addresses.candidates(()) == (Address(prefix=""),)
    assert str(Address(exchange="a", prefix="", legacy=True)) == (
        "control_exchange='a' and fanout_prefix=False and sentinel_fanout_compat=True"
    )
