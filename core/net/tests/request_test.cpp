// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <http/request.hpp>

#include <string>
#include <vector>

using namespace pl::http;

namespace {

int status_of(const std::string& text) {
  request_head head;
  const auto refused = parse_head(text, head);
  return refused ? refused->status : 0;
}

std::string with(const std::string& headers) { return "POST /a HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n"; }

struct unchunked {
  chunked_body::state last = chunked_body::state::more;
  std::string body, rest;  // rest: the bytes after the body
};

// Decode the text in pieces of `piece` bytes.
unchunked unchunk(const std::string& text, std::size_t piece) {
  unchunked u;
  chunked_body chunks;
  std::string undecoded;
  for (std::size_t at = 0; at < text.size() && u.last == chunked_body::state::more; at += piece) {
    undecoded += text.substr(at, piece);
    std::string_view in = undecoded, payload;
    while (!in.empty() && u.last == chunked_body::state::more) {
      u.last = chunks.next(in, payload);
      u.body += payload;
    }
    undecoded = in;
    u.rest = undecoded + (at + piece < text.size() ? text.substr(at + piece) : "");
  }
  return u;
}

}  // namespace

TEST_CASE("the head of a request is parsed") {
  request_head head;
  const std::string text =
      "PUT /a/b%20c?x=1 HTTP/1.1\r\nHost: h:80\r\nContent-LENGTH:  12 \r\nX-Empty:\r\nConnection: Close, TE\r\n"
      "Expect: 100-continue\r\n\r\n";
  CHECK(head_size(text + "rest") == text.size());
  CHECK(head_size(text.substr(0, text.size() - 1)) == 0);
  REQUIRE(!parse_head(text, head));
  CHECK(head.method == "PUT");
  CHECK(head.path == "/a/b%20c");
  CHECK(head.length == 12);
  CHECK(!head.keeps_alive);
  CHECK(head.expects_continue);
  CHECK(!head.chunked);
  CHECK(head.find("x-empty") == "");
  CHECK(!head.find("x-other"));
}

TEST_CASE("if the target is a URL, its path is used") {
  for (const auto& [target, path] : std::vector<std::pair<std::string, std::string>>{
           {"http://host/a?b", "/a"}, {"http://host", "/"}, {"http://host?b", "/"}, {"/x://y/", "/x://y/"}}) {
    request_head head;
    const auto text = "POST " + target + " HTTP/1.1\r\nHost: h\r\n\r\n";
    REQUIRE(!parse_head(text, head));
    CHECK(head.path == path);
  }
}

TEST_CASE("HTTP/1.1 keeps the connection open; HTTP/1.0 only if the client requests it") {
  const auto keeps = [](const std::string& text) {
    request_head head;
    REQUIRE(!parse_head(text, head));
    return head.keeps_alive;
  };
  CHECK(keeps("POST / HTTP/1.1\r\nHost: h\r\n\r\n"));
  CHECK(!keeps("POST / HTTP/1.0\r\n\r\n"));
  CHECK(keeps("POST / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

TEST_CASE("ambiguous requests are rejected") {
  CHECK(status_of(with("Content-Length: 1\r\nContent-Length: 1\r\n")) == 0);
  CHECK(status_of(with("Content-Length: 1\r\nContent-Length: 2\r\n")) == 400);
  CHECK(status_of(with("Content-Length: 1, 1\r\n")) == 400);
  CHECK(status_of(with("Content-Length: +1\r\n")) == 400);
  CHECK(status_of(with("Content-Length: 99999999999999999999\r\n")) == 400);
  CHECK(status_of(with("Content-Length:\r\n")) == 400);
  CHECK(status_of(with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")) == 400);
  CHECK(status_of(with("Transfer-Encoding: chunked\r\n")) == 0);
  CHECK(status_of(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")) == 400);
  CHECK(status_of(with("Transfer-Encoding: gzip, chunked\r\n")) == 501);
  CHECK(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400);
  CHECK(status_of(with("A : b\r\n")) == 400);
  CHECK(status_of(with("A: b\r\n c\r\n")) == 400);
  CHECK(status_of(with("A: b\nC: d\r\n")) == 400);
  CHECK(status_of(with("A: b\rC: d\r\n")) == 400);
  CHECK(status_of(with(std::string("A: b\0c\r\n", 8))) == 400);
  CHECK(status_of(with("Host: other\r\n")) == 400);
  CHECK(status_of(with("Content-Encoding: gzip\r\ncontent-encoding: identity\r\n")) == 400);
  CHECK(status_of(with("Content-Type: text/plain\r\nContent-Type: text/plain\r\n")) == 400);
  CHECK(status_of(with("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n")) == 400);
  CHECK(status_of(with("X-Other: a\r\nX-Other: b\r\n")) == 0);
  CHECK(status_of("POST / HTTP/1.1\r\n\r\n") == 400);
}

TEST_CASE("invalid requests and unsupported versions are rejected") {
  CHECK(status_of("\r\n\r\n") == 400);
  CHECK(status_of("POST\r\n\r\n") == 400);
  CHECK(status_of("POST /\r\n\r\n") == 400);
  CHECK(status_of("PO ST / HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of("POST  / HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of("POST /\xC3\xA4 HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(status_of("PRI * HTTP/2.0\r\n\r\n") == 505);
  CHECK(status_of("\x16\x03\x01 / TLS\r\n\r\n") == 400);
  CHECK(status_of(with("Expect: 200-ok\r\n")) == 417);
  std::string many;
  for (int i = 0; i < 101; ++i) many += "A: b\r\n";
  CHECK(status_of(with(many)) == 431);
}

TEST_CASE("a chunked body is decoded from pieces of any size") {
  const std::string text =
      "4\r\nwiki\r\n5;name=\"x\"\r\npedia\r\n00B\r\n\r\n in\r\n\r\n12\r\n0\r\nTrailer: x\r\nB: y\r\n\r\nPOST";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    const auto u = unchunk(text, piece);
    CHECK(u.last == chunked_body::state::done);
    CHECK(u.body == "wikipedia\r\n in\r\n\r\n12");
    CHECK(u.rest == "POST");
  }
}

TEST_CASE("invalid chunks are rejected") {
  for (const std::string text :
       {"x\r\n", "\r\n", ";\r\n", "4\nwiki", "4\r\nwikix\r\n", "4\r\nwiki\n", "-1\r\n", "0x4\r\nwiki\r\n",
        "4\r\nwiki\r\r", "1234567890ABCDEF0\r\n", "0\r\n\n", "0\r\nA: b\n\r\n"})
    CHECK_MESSAGE(unchunk(text, 1).last == chunked_body::state::broken, text);
  CHECK(unchunk("2 3\r\nabc\r\n0\r\n\r\n", 1).last == chunked_body::state::broken);
  CHECK(unchunk("2 \t;a=b c\r\nab\r\n0 \r\n\r\n", 1).body == "ab");
  CHECK(unchunk(std::string("2;a\0b\r\n", 7), 1).last == chunked_body::state::broken);
  CHECK(unchunk(std::string("0\r\nA: \0\r\n", 9), 1).last == chunked_body::state::broken);
  CHECK(unchunk(std::string("0\r\n\0", 4), 1).last == chunked_body::state::broken);
  CHECK(unchunk("1" + std::string(10'000, ' '), 100).last == chunked_body::state::broken);
  CHECK(unchunk("0\r\nA: " + std::string(10'000, 'x'), 100).last == chunked_body::state::broken);
  CHECK(unchunk("1;" + std::string(10'000, 'x'), 100).last == chunked_body::state::broken);
  CHECK(unchunk("4\r\nwik", 1).last == chunked_body::state::more);
}

TEST_CASE("escapes in paths are decoded, and invalid ones are rejected") {
  CHECK(percent_decoded("a%2Fb%20%c3%A4") == "a/b \xC3\xA4");
  CHECK(percent_decoded("") == "");
  for (const std::string broken : {"%", "%2", "%2x", "%%20", "%00", "%FF", "%C3"})
    CHECK_MESSAGE(!percent_decoded(broken), broken);
}
