// SPDX-License-Identifier: Apache-2.0
#include "conninfo.hpp"

#include <doctest/doctest.h>

using namespace timescale;
using namespace std::chrono_literals;

namespace {

conninfo parsed(const std::string& url) {
  auto c = conninfo::parse(url);
  REQUIRE_MESSAGE(c.ok(), url);
  return *std::move(c);
}

bool has(const std::string& text, std::string_view piece) { return text.find(piece) != std::string::npos; }

}  // namespace

TEST_CASE("the shown form of a connection contains no secrets") {
  CHECK(parsed("postgresql://iot:s3cret@db.example:6432/telemetry?sslmode=require").shown() ==
        "iot@db.example:6432/telemetry");
  CHECK(parsed("postgres://db.example/telemetry?user=iot&password=s3cret").shown() == "iot@db.example/telemetry");
  CHECK(parsed("host=db user=iot password='s3 cret' sslpassword=also dbname=x").shown() == "iot@db/x");
  CHECK(parsed("postgresql://a:1,b:2/x?target_session_attrs=read-write").shown() == "a,b:1,2/x");
  CHECK(parsed("dbname=x").shown() == "the local server/x");
  CHECK(parsed("service=telemetry").shown() == "service telemetry");
}

TEST_CASE("an invalid URL is rejected with a message that contains no part of it") {
  for (const std::string url :
       {"postgresql://iot:s3cret@db.example:port/telemetry?s3cret=1", "s3cret", "host=db s3cret",
        "postgresql://iot:pass@s3cret@db/x", "postgresql://iot:s3/cret@db/x", "postgresql://iot:s3cret@[s3cret/x",
        "postgresql://iot:s3cret%zz@db/x", "postgresql://db:0/s3cret", "host=a,b port=1,s3cret"}) {
    CAPTURE(url);
    const auto c = conninfo::parse(url);
    REQUIRE_FALSE(c.ok());
    CHECK(c.why().option == "url");
    CHECK_FALSE(has(c.why().message, "s3cret"));
    CHECK(has(c.why().message, "%40 for '@'"));
  }
}

TEST_CASE("the user's parameters take precedence over the defaults, except for the encoding") {
  auto c = parsed("postgresql://iot@db/x?connect_timeout=3&client_encoding=LATIN1");
  c.set_defaults(1500ms, "pipeline-host it's");
  const auto text = c.secret_text();
  CHECK(has(text, "connect_timeout='3' "));
  CHECK(has(text, "client_encoding='UTF8' "));
  CHECK_FALSE(has(text, "LATIN1"));
  CHECK(has(text, "fallback_application_name='pipeline-host it\\'s' "));
  CHECK(has(text, "tcp_user_timeout='60000' "));

  auto rounded = parsed("postgresql://iot@db/x");
  rounded.set_defaults(1500ms, "x");
  CHECK(has(rounded.secret_text(), "connect_timeout='2' "));
}
