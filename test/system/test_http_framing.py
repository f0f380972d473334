"""Requests whose end can be read in two ways, byte by byte over plain sockets: answered once, 400, and closed.

Every request here is followed, on the same connection, by a second one to another device. If a server and a proxy before it disagree about where the
first ends, the second is smuggled: so it must never be answered, nor stored.

libmicrohttpd 1.0 and later (Debian 13) leaves all of them to be refused. 0.9.75 (Debian 12) hides a few, listed in HIDDEN_BY_0_9 with what happens
instead; docs/http.md says what that means. `sluice --version` tells which library it is. With SLUICE_HTTP_URL the tests run against a listener
that is there already (its records are not looked at then), whose library is taken for 1.x unless SLUICE_MHD_VERSION says otherwise."""

import os
import re
import socket
import subprocess

import pytest

from harness import ROOT, SLOWNESS

SMUGGLED = b"POST /v1/telemetry/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n7"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
ONE_CHUNK = b"1\r\n1\r\n0\r\n\r\n"


def request(fields=b"", body=b"", line=b"POST /v1/telemetry/front HTTP/1.1", host=b"Host: x\r\n"):
    return line + b"\r\n" + host + fields + b"\r\n" + body


def lined(line):
    return request(b"Content-Length: 1\r\n", b"1", line=line)


FINE = {
    "content_length": request(b"Content-Length: 1\r\n", b"1"),
    "chunked": request(CHUNKED, ONE_CHUNK),
    "chunked_in_capitals": request(b"TRANSFER-ENCODING: CHUNKED\r\n", b"a\r\n0123456789\r\n0\r\n\r\n"),
    "no_space_behind_colon": request(b"Content-Length:1\r\nX-A:\r\n", b"1"),
    "much_space_around_value": request(b"Content-Length: 1\r\nX-A: \t a \t \r\n", b"1"),
    "absolute_target": lined(b"POST http://x/v1/telemetry/front HTTP/1.1"),
    "query": lined(b"POST /v1/telemetry/front?a=1&b HTTP/1.1"),
    "empty_query": lined(b"POST /v1/telemetry/front? HTTP/1.1"),
    "empty_line_first": b"\r\n" + request(b"Content-Length: 1\r\n", b"1"),
    "empty_line_behind_the_body": request(b"Content-Length: 1\r\n", b"1\r\n"),
}

AMBIGUOUS = {
    # case 17: length and coding
    "cl_te": request(b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\n"),
    "te_cl": request(CHUNKED + b"Content-Length: 6\r\n", b"0\r\n\r\n"),
    "cl_twice_equal": request(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"1"),
    "cl_twice_different": request(b"Content-Length: 1\r\nContent-Length: 70\r\n", b"1"),
    "cl_list": request(b"Content-Length: 1, 1\r\n", b"1"),
    "cl_plus": request(b"Content-Length: +1\r\n", b"1"),
    "cl_minus": request(b"Content-Length: -1\r\n", b"1"),
    "cl_hex": request(b"Content-Length: 0x1\r\n", b"1"),
    "cl_two_words": request(b"Content-Length: 1 1\r\n", b"1"),
    "cl_empty": request(b"Content-Length:\r\n", b"1"),
    "cl_nul": request(b"Content-Length: 1\x00\r\n", b"1"),
    "te_twice": request(CHUNKED + CHUNKED, ONE_CHUNK),
    "te_then_identity": request(CHUNKED + b"Transfer-Encoding: identity\r\n", ONE_CHUNK),
    "te_unknown": request(b"Transfer-Encoding: xchunked\r\n", ONE_CHUNK),
    "te_identity": request(b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n", b"1"),
    "te_gzip_chunked": request(b"Transfer-Encoding: gzip, chunked\r\n", ONE_CHUNK),
    "te_chunked_identity": request(b"Transfer-Encoding: chunked, identity\r\n", ONE_CHUNK),
    "te_vertical_tab": request(b"Transfer-Encoding: \x0bchunked\r\n", ONE_CHUNK),
    "te_folded": request(b"Transfer-Encoding:\r\n chunked\r\n", ONE_CHUNK),
    "te_in_http_1_0": request(CHUNKED + b"Connection: keep-alive\r\n", ONE_CHUNK, line=b"POST /v1/telemetry/front HTTP/1.0"),
    "folded": request(b"Content-Length: 1\r\nX-A: one\r\n two\r\n", b"1"),
    "folded_first": b"POST /v1/telemetry/front HTTP/1.1\r\n Host: x\r\nContent-Length: 1\r\n\r\n1",
    "space_before_colon": request(b"Content-Length : 1\r\n", b"1"),
    "space_before_colon_te": request(b"Transfer-Encoding : chunked\r\n", ONE_CHUNK),
    "space_in_name": request(b"Content-Length: 1\r\nX A: 1\r\n", b"1"),
    "no_colon": request(b"Content-Length: 1\r\nfoo\r\n", b"1"),
    # chunks
    "chunk_negative": request(CHUNKED, b"-1\r\n1\r\n0\r\n\r\n"),
    "chunk_hex_prefix": request(CHUNKED, b"0x1\r\n1\r\n0\r\n\r\n"),
    "chunk_space": request(CHUNKED, b"1 \r\n1\r\n0\r\n\r\n"),
    "chunk_end_missing": request(CHUNKED, b"1\r\n1XX0\r\n\r\n"),
    "chunk_extension_bare_lf": request(CHUNKED, b"1;\n1\r\n0\r\n\r\n"),
    "chunk_bare_lf": request(CHUNKED, b"1\n1\n0\n\n"),
    # case 18: bare CR, LF, NUL
    "bare_cr": request(b"Content-Length: 1\r\nX-A: a\rb\r\n", b"1"),
    "bare_cr_hides_te": request(b"Content-Length: 1\r\nX-A: a\rTransfer-Encoding: chunked\r\n", b"1"),
    "bare_lf": request(b"Content-Length: 1\r\nX-A: a\nX-B: b\r\n", b"1"),
    "bare_lf_ends_head": b"POST /v1/telemetry/front HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\n1",
    "nul_in_value": request(b"Content-Length: 1\r\nX-A: a\x00b\r\n", b"1"),
    "nul_in_name": request(b"Content-Length: 1\r\nX\x00A: a\r\n", b"1"),
    # case 19: hosts
    "two_hosts": request(b"Host: y\r\nContent-Length: 1\r\n", b"1"),
    "no_host": request(b"Content-Length: 1\r\n", b"1", host=b""),
    "host_list": request(b"Content-Length: 1\r\n", b"1", host=b"Host: x, y\r\n"),
    # request line
    "control_in_target": lined(b"POST /v1/telemetry/fr\x01nt HTTP/1.1"),
    "tab_in_target": lined(b"POST /v1/telemetry/fr\tnt HTTP/1.1"),
    "encoded_nul": lined(b"POST /v1/telemetry/fr%00nt HTTP/1.1"),
    "encoded_line_end": lined(b"POST /v1/telemetry/fr%0d%0ant HTTP/1.1"),
    "bad_percent": lined(b"POST /v1/telemetry/fr%zznt HTTP/1.1"),
    "dot_segments": lined(b"POST /v1/telemetry/../front HTTP/1.1"),
    "encoded_dot_segments": lined(b"POST /v1/telemetry/x/%2e%2e/front HTTP/1.1"),
    "fragment": lined(b"POST /v1/telemetry/front#x HTTP/1.1"),
    "empty_segment": lined(b"POST /v1/telemetry/front//x HTTP/1.1"),
    "two_spaces": lined(b"POST  /v1/telemetry/front HTTP/1.1"),
    "version_with_tail": lined(b"POST /v1/telemetry/front HTTP/1.1x"),
}

# What 0.9.75 answers as if nothing had been there. Not refused: (status, is the second request served?)
HIDDEN_BY_0_9 = {"chunk_extension_bare_lf": 204, "chunk_bare_lf": 204}

# Closed, and whether something is said before is the library's choice.
REFUSED_SOMEHOW = {
    "nul_in_target": lined(b"POST /v1/telemetry/fr\x00nt HTTP/1.1"),
    "space_in_target": lined(b"POST /v1/telemetry/fr nt HTTP/1.1"),
    "version_2": lined(b"POST /v1/telemetry/front HTTP/2.0"),
    "no_version": b"POST /v1/telemetry/front\r\n\r\n",
    "chunk_too_large": request(CHUNKED, b"10000000000000001\r\n1\r\n0\r\n\r\n"),
    "cl_too_large": request(b"Content-Length: 18446744073709551617\r\n", b"1"),
    "garbage": bytes(range(128, 256)) * 4 + b"\r\n\r\n",
    "tls": bytes.fromhex("160301007a0100007603030102030405060708"),
}


@pytest.fixture(scope="session")
def old_library():
    """Is the library one that hides things (before 1.0)?"""
    version = os.environ.get("SLUICE_MHD_VERSION")
    if not version and os.environ.get("SLUICE_HTTP_URL"):
        return False
    if not version:
        program = os.environ.get("SLUICE_BIN") or str(ROOT / "build" / "sluice")
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        version = re.search(r"^libmicrohttpd (\S+)", said, re.M).group(1)
    return version.startswith("0.")


@pytest.fixture(scope="session")
def target(tmp_path_factory, request):
    """(address, records): one gateway for all of this file; records() is None for one that was there already."""
    url = os.environ.get("SLUICE_HTTP_URL")
    if url:
        host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
        yield (host.strip("[]"), int(port)), lambda: None
        return
    from harness import DEFAULTS, Sluice, merge

    config = merge(DEFAULTS, {"listeners": {"mqtt": None, "coap": None, "tcp": None}})
    gateway = Sluice(tmp_path_factory.mktemp("framing"), config).start()
    yield gateway.address("http"), gateway.records
    wrong = gateway.finish()
    assert not wrong, wrong


def exchange(address, raw, answers):
    """Sends raw; returns (what came until the end or until there are that many answers, did the server close?)"""
    got = b""
    with socket.create_connection(address, timeout=5 * SLOWNESS) as s:
        s.sendall(raw)
        try:
            while answers is None or len(statuses(got)) < answers:
                data = s.recv(65536)
                if not data:
                    return got, True
                got += data
        except ConnectionError:
            return got, True
        except TimeoutError:
            pass
    return got, False


def statuses(got):
    """The answers in what was received, as a client reads them: heads, then bodies by their length."""
    out = []
    while b"\r\n\r\n" in got:
        head, _, rest = got.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.1 (\d+) ", head)
        assert status, got
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
        length = int(length.group(1)) if length else 0
        if len(rest) < length:
            break
        out.append(int(status.group(1)))
        closes = re.search(rb"\r\nconnection: *close", head, re.I)
        got = rest[length:]
        if closes:
            break
    return out


@pytest.mark.parametrize("name", FINE)
def test_plain_request_is_served_and_so_is_the_next(target, name):
    address, _ = target
    got, _ = exchange(address, FINE[name] + SMUGGLED.replace(b"smuggled", b"second"), 2)
    assert statuses(got) == [204, 204]


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_request_is_refused_and_closed(target, old_library, name):
    address, records = target
    if old_library and name in HIDDEN_BY_0_9:
        # The first answer shows that the library took it; that the connection goes on is why docs/http.md warns.
        got, _ = exchange(address, AMBIGUOUS[name], 1)
        assert statuses(got) == [HIDDEN_BY_0_9[name]]
        return
    got, closed = exchange(address, AMBIGUOUS[name] + SMUGGLED, None)
    assert closed
    assert statuses(got) == [400]
    assert "smuggled" not in [r["device"]["id"] for r in records() or []]


def test_target_of_another_scheme_is_misdirected(target):
    address, _ = target
    first = request(b"Content-Length: 1\r\n", b"1", line=b"POST https://x/v1/telemetry/front HTTP/1.1")
    got, _ = exchange(address, first + FINE["content_length"], 2)
    assert statuses(got) == [421, 204] and b"urn:sluice:problem:misdirected" in got


def test_missing_host_is_one_answer_with_one_head(target, old_library):
    address, _ = target
    got, closed = exchange(address, AMBIGUOUS["no_host"], None)
    assert closed
    head, _, body = got.partition(b"\r\n\r\n")
    assert int(re.search(rb"\r\nContent-Length: (\d+)", head).group(1)) == len(body)
    assert b"HTTP/1.1 400" not in body
    if old_library:  # a later one answers by itself
        assert b"application/problem+json" in head and b"urn:sluice:problem:bad-host" in body


@pytest.mark.parametrize("name", REFUSED_SOMEHOW)
def test_broken_request_is_closed_and_never_served(target, name):
    address, records = target
    with socket.create_connection(address, timeout=5 * SLOWNESS) as s:
        s.sendall(REFUSED_SOMEHOW[name] + SMUGGLED)
        s.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while data := s.recv(65536):
                got += data
        except ConnectionError:
            pass
    assert all(status >= 400 for status in statuses(got))
    assert "smuggled" not in [r["device"]["id"] for r in records() or []]


def test_smuggled_request_in_a_body_stays_a_body(target):
    address, _ = target
    inner = SMUGGLED.replace(b"smuggled", b"inner")
    got, _ = exchange(address, request(b"Content-Length: %d\r\n" % len(inner), inner) + SMUGGLED.replace(b"smuggled", b"second"), 2)
    assert statuses(got) == [204, 204]


def test_body_of_a_refused_method_is_not_a_request(target):
    address, records = target
    inner = SMUGGLED
    for method in (b"GET", b"DELETE", b"TRACE", b"FOO"):
        got, _ = exchange(address, request(b"Content-Length: %d\r\n" % len(inner), inner, line=method + b" /v1/telemetry/front HTTP/1.1"), 1)
        assert statuses(got)[:1] in ([405], [400])
    assert "smuggled" not in [r["device"]["id"] for r in records() or []]


def test_requests_in_a_row_cut_anywhere_are_all_served(target):
    address, _ = target
    raw = FINE["content_length"] + FINE["chunked"] + FINE["query"]
    for cut in range(1, len(raw), 3):
        with socket.create_connection(address, timeout=5 * SLOWNESS) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(raw[:cut])
            s.sendall(raw[cut:])
            got = b""
            while len(statuses(got)) < 3:
                data = s.recv(65536)
                assert data, (cut, got)
                got += data
            assert statuses(got) == [204, 204, 204]
