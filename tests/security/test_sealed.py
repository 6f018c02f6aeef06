"""The sealed file: what opens it, and that nothing else than what was saved is ever opened."""

import base64
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import sealed
from jobs.config.sealed import Contents, Recipient
from marts.errors import UsageError

KEY, OTHER = sealed.make_key(), sealed.make_key()
OURS, THEIRS = Recipient("ours", KEY.public_key()), Recipient("theirs", OTHER.public_key())
VALUES = {"mysql.password": "pass", "s3.access_key": "access", "s3.secret_key": "secret"}


def contents(values: dict[str, str] = VALUES, *recipients: Recipient) -> Contents:
    return replace(sealed.new_contents(recipients or (OURS,)), values=values)


def closed(values: dict[str, str] = VALUES, *recipients: Recipient) -> bytes:
    return sealed.seal(contents(values, *recipients), "2026-01-01T00:00:00+00:00")


def opened(data: bytes) -> dict[str, str]:
    return dict(sealed.unseal(data, "here", KEY).values)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True), st.text(st.characters(codec="utf-8"))
    )
)
def test_what_is_sealed_comes_out_as_it_was(values: dict[str, str]) -> None:
    assert opened(closed(values)) == values


def test_no_changed_swapped_removed_or_truncated_byte_is_accepted(figure: Callable[[str], None]) -> None:
    data = closed()
    tried = 0
    for at in range(len(data)):
        for changed in {data[at] ^ 1, data[at] ^ 32, data[at] ^ 0x80, ord("A"), ord("="), ord(" ")} - {data[at]}:
            refused(data[:at] + bytes([changed]) + data[at + 1 :])
            tried += 1
        refused(data[:at])
        refused(data[:at] + data[at + 1 :])
        refused(data[:at] + b" " + data[at:])
        refused(data[:at] + data[at : at + 1] + data[at:])
        tried += 4
    refused(data + b"\n")
    figure(f"{tried + 1:,} files with one byte changed, removed, added or cut off: 0 accepted")
    assert tried > 8 * len(data)


def refused(data: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        sealed.unseal(data, "here", KEY)
    assert not any(value in str(caught.value.args) for value in ("secret_key", "access"))


def test_no_part_can_be_moved_removed_or_taken_from_an_older_file(figure: Callable[[str], None]) -> None:
    before = contents()
    data = sealed.seal(before, "2026-01-01T00:00:00+00:00")
    later = sealed.seal(
        replace(sealed.unseal(data, "", KEY), values={**VALUES, "more": "x"}), "2026-01-02T00:00:00+00:00"
    )
    body, newer = json.loads(data), json.loads(later)
    tried = []
    for first, second in combinations(body["values"], 2):
        values = {**body["values"], first: body["values"][second], second: body["values"][first]}
        tried.append({**body, "values": values})
    for name in body["values"]:
        tried.append({**body, "values": {key: value for key, value in body["values"].items() if key != name}})
        tried.append({**newer, "values": {**newer["values"], name: body["values"][name]}})
    for name in ("id", "revision", "saved_at", "keys", "seal"):
        tried.append({**newer, name: "0" if name == "id" else body[name]})
        tried.append({key: value for key, value in body.items() if key != name})
    tried.append({**body, "revision": 2})
    tried.append({**body, "keys": {"another": body["keys"]["ours"]}})
    tried.append({**body, "keys": {**body["keys"], "spy": body["keys"]["ours"]}})
    tried.append({**body, "format": "martwright sealed credentials 0"})
    for changed in tried:
        refused((json.dumps(changed, indent=1, sort_keys=True) + "\n").encode())
    figure(f"{len(tried)} files with parts swapped, moved, removed or of an older one: 0 accepted")


def test_the_same_content_in_another_spelling_is_refused() -> None:
    body = json.loads(closed())
    for text in (
        json.dumps(body),
        json.dumps(body, indent=1, sort_keys=True),
        json.dumps(body, indent=2, sort_keys=True) + "\n",
        "\ufeff" + json.dumps(body, indent=1, sort_keys=True) + "\n",
        json.dumps(body, indent=1, sort_keys=True).replace('"seal"', '"seal": "",\n "seal"') + "\n",
        json.dumps(body, indent=1, sort_keys=True).replace("ours", "o\\u0075rs") + "\n",
        "[" * 100_000,
        "null\n",
        "",
    ):
        refused(text.encode())


def test_base64_that_is_not_spelled_as_we_do_is_refused() -> None:
    body = json.loads(closed())
    text: str = body["seal"]
    assert text.endswith("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    same = text[:-2] + alphabet[alphabet.index(text[-2]) + 1] + "="  # the two last bits do not count
    assert base64.b64decode(same) == base64.b64decode(text)
    for other in (same, text.rstrip("="), text + "=", text[:4] + "\n" + text[4:], text.replace("=", "")):
        refused((json.dumps({**body, "seal": other}, indent=1, sort_keys=True) + "\n").encode())


def test_the_error_of_a_wrong_key_names_the_right_ones() -> None:
    data = closed(VALUES, THEIRS, sealed.passphrase_recipient("team", "open sesame"))
    with pytest.raises(UsageError, match=r"the key x25519:.* cannot open it") as caught:
        sealed.unseal(data, "here", KEY)
    assert "'theirs' (x25519:" in caught.value.hint
    assert "the passphrase 'team'" in caught.value.hint
    with pytest.raises(UsageError, match="the passphrase cannot open it"):
        sealed.unseal(data, "here", passphrase="close sesame")
    with pytest.raises(UsageError, match="without a key or a passphrase"):
        sealed.unseal(data, "here")


def test_each_key_and_each_passphrase_opens_it_and_may_save_it_for_all() -> None:
    data = closed(VALUES, OURS, THEIRS, sealed.passphrase_recipient("team", "open sesame"))
    held = sealed.unseal(data, "here", passphrase="open sesame")
    again = sealed.seal(replace(held, values={"new": "value"}), "2026-01-02T00:00:00+00:00")
    for key in (KEY, OTHER):
        assert sealed.unseal(again, "here", key).values == {"new": "value"}
    assert sealed.unseal(again, "here", passphrase="open sesame").revision == 2


def test_each_save_has_a_data_key_of_its_own_and_one_revision_more() -> None:
    first = closed()
    held = sealed.unseal(first, "here", KEY)
    second = sealed.seal(held, "2026-01-01T00:00:00+00:00")
    assert (held.revision, sealed.look(second, "here").revision) == (1, 2)
    left, right = json.loads(first), json.loads(second)
    assert not set(left["values"].values()) & set(right["values"].values())
    assert left["keys"]["ours"]["wrapped"] != right["keys"]["ours"]["wrapped"]
    assert sealed.unseal(second, "here", KEY).fingerprint == held.fingerprint


def test_the_length_of_a_value_reveals_little() -> None:
    lengths = {len(json.loads(closed({"name": "x" * size}))["values"]["name"]) for size in range(1, 61)}
    assert len(lengths) == 1


def test_a_file_for_our_key_made_by_somebody_else_has_another_lineage() -> None:
    assert sealed.unseal(closed(), "", KEY).fingerprint != sealed.unseal(closed(), "", KEY).fingerprint


def test_a_file_reveals_only_names_without_a_key() -> None:
    summary = sealed.look(closed(), "here")
    assert (summary.names, summary.revision, [recipient.name for recipient in summary.recipients]) == (
        tuple(sorted(VALUES)),
        1,
        ["ours"],
    )
    assert b'secret"' not in closed()


def test_opened_values_are_neither_shown_nor_pickled() -> None:
    held = sealed.unseal(closed({"name": "canary"}), "here", KEY)
    assert "canary" not in f"{held!r} {held}"
    with pytest.raises(TypeError):
        pickle.dumps(held)


@pytest.mark.parametrize("name", ["", "_lineage", "a b", "ä", "x" * 65, "-x", "a/b", "a\n"])
def test_a_name_that_could_mislead_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid name"):
        sealed.check_name(name)


@pytest.mark.parametrize("text", ["", "x25519:", "x25519:AAAA", "AAAA=", "x25519:" + "A" * 44, "\x1b[31m"])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a public key"):
        sealed.public_from_text(text)


def test_keys_of_another_kind_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(UsageError, match="is not an X25519 key"):
        sealed.key_from_text(pem, "here")
    with pytest.raises(UsageError, match="is not a key file"):
        sealed.key_from_text(os.urandom(100), "here")


def test_a_key_comes_back_as_it_was_written() -> None:
    assert sealed.key_from_text(sealed.key_to_text(KEY), "here").private_bytes_raw() == KEY.private_bytes_raw()
    text = sealed.public_to_text(KEY.public_key())
    assert sealed.public_to_text(sealed.public_from_text(text)) == text


def test_a_file_that_nobody_could_open_is_not_made() -> None:
    with pytest.raises(UsageError, match="no key could open it"):
        sealed.seal(sealed.new_contents(()), "2026-01-01T00:00:00+00:00")
