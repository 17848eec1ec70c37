"""The names of workers in kombu's set of mailboxes, whichever separator wrote them."""

from __future__ import annotations

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.broker.errors import BrokerError
from autoscaler.broker.mailboxes import (
    MAILBOXES_KEY,
    MailboxRemover,
    MailboxSet,
    find_mailbox_sets,
    parse_mailbox,
    parse_mailbox_set,
    read_mailboxes,
    separator_of,
)

SEP = "\x06\x16"


def member(name, separator=SEP):
    return f"{separator}{separator}{name}.celery.pidbox".encode()


@given(st.binary(max_size=40))
def test_any_member_of_the_set_of_mailboxes_can_be_read(found):
    name = parse_mailbox(found)
    assert name is None or found.endswith(b".celery.pidbox")
    read_mailboxes([found])
    separator_of([found])


@pytest.mark.parametrize("separator", [SEP, "|", "##", "::", "---", "\x00", "é"])
def test_names_are_read_whichever_separator_wrote_them(separator):
    members = [member(name, separator) for name in ("celery@a", "w1@b")]
    assert separator_of(members) == separator
    assert read_mailboxes(members) == {"celery@a", "w1@b"}


def test_a_fleet_with_two_separators_has_names_and_no_single_separator():
    members = [member("a@h"), member("b@h", "|")]
    assert (separator_of(members), read_mailboxes(members)) == (None, {"a@h", "b@h"})


def test_what_is_no_mailbox_has_no_name():
    assert read_mailboxes([b"", b"x", f"{SEP}{SEP}reply.queue".encode()]) == frozenset()


def test_only_the_mailboxes_that_are_named_are_removed(client):
    client.sadd(f"p:{MAILBOXES_KEY}", member("a@h"), member("b@h", "|"), member("c@h"))
    MailboxRemover(lambda: client, "p:").remove(["a@h", "b@h"])
    assert client.smembers(f"p:{MAILBOXES_KEY}") == {member("c@h")}


def test_without_the_right_to_remove_it_says_so(client, server):
    client.sadd(MAILBOXES_KEY, member("a@h"))
    client.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">reader", "%R~*", "+smembers")
    with redis.Redis(port=server.port, username="reader", password="reader") as reader:
        remover = MailboxRemover(lambda: reader, "")
        with pytest.raises(BrokerError, match="NoPermissionError"):
            remover.remove(["a@h"])


def test_a_search_reads_prefix_and_exchange_of_each_set_of_mailboxes(client):
    keys = ("_kombu.binding.celery.pidbox", "shop:_kombu.binding.app1.pidbox")
    for key in (*keys, "_kombu.binding.reply.celery.pidbox", "_kombu.binding.celery", "x"):
        client.sadd(key, "member")
    assert find_mailbox_sets(client) == {
        MailboxSet(prefix="", exchange="celery"),
        MailboxSet(prefix="shop:", exchange="app1"),
    }
    assert parse_mailbox_set("_kombu.binding_permanent.celery.pidbox") is None
