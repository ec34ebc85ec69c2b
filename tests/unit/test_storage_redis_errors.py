import asyncio
from collections.abc import Callable
from typing import TypeAlias, cast

import hiredis
import pytest
from redis import _parsers  # pyright: ignore[reportPrivateUsage] - what the driver makes of a reply
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from realmkeep.errors import (
    OutcomeUnknown,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
    WrongType,
)
from realmkeep.storage.redis_errors import REJECTED_BEFORE_EXECUTION, is_reply, translate

ParseError: TypeAlias = Callable[[str], Exception]

# As Redis 7.0 and Valkey 9.1 word them.
REPLIES = {
    "LOADING Redis is loading the dataset in memory": StorageUnavailable,
    "READONLY You can't write against a read only replica.": StorageUnavailable,
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": StorageUnavailable,
    "CLUSTERDOWN The cluster is down": StorageUnavailable,
    "TRYAGAIN Multiple keys request during rehashing of slot": StorageUnavailable,
    "NOREPLICAS Not enough good replicas to write.": StorageUnavailable,
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": StorageUnavailable,
    "NOSCRIPT No matching script. Please use EVAL.": StorageUnavailable,
    "EXECABORT Transaction discarded because of previous errors.": StorageUnavailable,
    "OOM command not allowed when used memory > 'maxmemory'.": StorageFull,
    "MISCONF Errors writing to the AOF file: No space left on device": StorageFull,
    "NOAUTH Authentication required.": StorageMisconfigured,
    "WRONGPASS invalid username-password pair or user is disabled.": StorageMisconfigured,
    "NOPERM User reader has no permissions to run the 'evalsha' command": StorageMisconfigured,
    "NOPROTO unsupported protocol version": StorageMisconfigured,
    "DENIED Redis is running in protected mode": StorageMisconfigured,
    "MOVED 3999 127.0.0.1:6381": StorageMisconfigured,
    "ASK 3999 127.0.0.1:6381": StorageUnavailable,
    "CROSSSLOT Keys in request don't hash to the same slot": StorageMisconfigured,
    "WRONGTYPE Operation against a key holding the wrong kind of value": WrongType,
    "ERR max number of clients reached": StorageUnavailable,
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?": StorageMisconfigured,
    "ERR invalid password": StorageMisconfigured,
    "ERR DB index is out of range": StorageMisconfigured,
    "ERR Error running script: Script killed by user with SCRIPT KILL.": StorageUnavailable,
}


def as_the_driver_has_it(reply: str) -> Exception:
    parse_error = cast("ParseError", _parsers.BaseParser.parse_error)  # pyright: ignore[reportUnknownMemberType] - untyped there
    reader = hiredis.Reader(replyError=parse_error)
    reader.feed(f"-{reply}\r\n".encode())
    error = reader.gets()
    assert isinstance(error, Exception)
    return error


def test_every_row_of_the_table_has_a_reply_here() -> None:
    assert {reply.split()[0] for reply in REPLIES} == {*REJECTED_BEFORE_EXECUTION, "ERR"}


@pytest.mark.parametrize(("reply", "kind"), REPLIES.items(), ids=[reply.split()[0] for reply in REPLIES])
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_rejected_request_was_not_executed(reply: str, kind: type[StorageError], is_wrapped: bool) -> None:
    error = as_the_driver_has_it(reply)
    if is_wrapped:  # as the driver does while it connects
        wrapped = RedisConnectionError(error)
        wrapped.__cause__ = error
        error = wrapped
    assert is_reply(error)
    for sent in (False, True):
        mapped = translate(error, "redis://h:6379/0", sent=sent, subject="player:7")
        assert type(mapped) is kind
        assert mapped.outcome == "not_applied"
        assert mapped.hint
        assert "player:7" in mapped.message


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Connection closed by server."),
        RedisTimeoutError("Timeout reading from socket"),
        InvalidResponse("Protocol error"),
        ConnectionResetError(104, "Connection reset by peer"),
        BrokenPipeError(32, "Broken pipe"),
        asyncio.IncompleteReadError(b"", 1),
        TimeoutError(),
        EOFError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_connection_leaves_what_was_sent_unknown_and_nothing_else(error: Exception) -> None:
    assert not is_reply(error)
    sent = translate(error, "redis://h:6379/0", sent=True, subject="player:7")
    assert type(sent) is OutcomeUnknown
    assert "player:7" in sent.message
    unsent = translate(error, "redis://h:6379/0", sent=False)
    assert type(unsent) is StorageUnavailable


@pytest.mark.parametrize("reply", ["ERR something new", "NOVELTY what is this", "user_script:21: a defect of ours"])
def test_an_unknown_reply_to_a_change_is_not_taken_for_a_rejection(reply: str) -> None:
    error = as_the_driver_has_it(reply)
    assert type(translate(error, "s", sent=True)) is OutcomeUnknown
    assert translate(error, "s", sent=False).outcome == "not_applied"


@pytest.mark.parametrize("reply", [reply for reply in REPLIES if not reply.startswith("WRONGTYPE")])
def test_what_the_store_said_stands_in_the_message(reply: str) -> None:
    said = translate(as_the_driver_has_it(reply), "s", sent=False).message
    assert reply.partition(" ")[2].rstrip(".")[:60] in said


def as_the_driver_has_tls(words: str) -> Exception:
    return RedisConnectionError(f"Error 1 connecting to h:6380. {words} (_ssl.c:1006).")


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired", "has expired", "clock"),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not valid for 'h'.",
            "Hostname mismatch, certificate is not valid for 'h'",
            "name it in the URL",
        ),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate",
            "unable to get local issuer certificate",
            "tls_ca",
        ),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: CA cert does not sign",
            "CA cert does not",
            "tls_ca",
        ),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "wrong version number", "redis://"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "alert certificate", "tls_cert"),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "alert unknown ca", "tls_cert"),
        ("[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure", "handshake failure", "log"),
    ],
)
def test_what_openssl_said_stands_in_the_message(words: str, said: str, hint: str) -> None:
    error = translate(as_the_driver_has_tls(words), "rediss://h:6380/0", sent=False)
    assert type(error) is StorageMisconfigured
    assert said in error.message
    assert "_ssl.c" not in error.message
    assert "[SSL" not in error.message
    assert hint in error.hint


def test_a_tls_alert_after_a_change_was_sent_leaves_its_outcome_unknown() -> None:
    alert = as_the_driver_has_tls("[SSL: SSLV3_ALERT_BAD_RECORD_MAC] sslv3 alert bad record mac")
    assert type(translate(alert, "s", sent=True)) is OutcomeUnknown
