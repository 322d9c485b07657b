// SPDX-License-Identifier: Apache-2.0
#include "config/secret_mask.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

using pl::config::secret_mask;

namespace {

secret_mask of(std::string_view secret, std::string_view user = {}) {
  secret_mask m;
  m.add(secret);
  m.add_user(user);
  m.finish();
  return m;
}

secret_mask in(std::string_view text) {
  secret_mask m;
  m.add_from(text);
  m.finish();
  return m;
}

}  // namespace

TEST_CASE("a secret is masked wherever it occurs, in each form") {
  const auto m = of("pa ss\"w0rd", "iot");
  CHECK(m.masked("key pa ss\"w0rd, key pa ss\"w0rd") == "key <secret>, key <secret>");
  CHECK(m.masked("?key=pa%20ss%22w0rd&x") == "?key=<secret>&x");
  CHECK(m.masked("{\"key\":\"pa ss\\\"w0rd\"}") == "{\"key\":\"<secret>\"}");
  CHECK(m.masked("Authorization: Basic aW90OnBhIHNzIncwcmQ=") == "Authorization: Basic <secret>");
  CHECK(m.masked("nothing here") == "nothing here");
  CHECK(m.masked("").empty());
}

TEST_CASE("the parts of a password with '@', '/' and ':' in a URL are masked, as a parser of URLs may split it") {
  for (const auto* url : {"postgresql://iot:tOp@s3cr/et:9@db.example/telemetry", "http://iot:tOp@s3cr/et:9@db.example",
                          "postgresql://iot:tOp@s3cr/et:9@db.example/telemetry?sslmode=require&x=a@b"}) {
    CAPTURE(url);
    const auto m = in(url);
    CHECK(m.masked("cannot resolve s3cr: unknown") == "cannot resolve <secret>: unknown");
    CHECK(m.masked("tOp@s3cr/et:9").find("s3cr") == std::string::npos);
    CHECK(m.masked(url).find("s3cr") == std::string::npos);
    CHECK(m.masked(url).find("db.example") != std::string::npos);
  }
  CHECK(in("postgresql://iot@db.example/telemetry").empty());
  CHECK(in("mqtt://127.0.0.1:1883").empty());
  CHECK(in("host=db password=hunter22 user=iot").masked("FATAL: hunter22") == "FATAL: <secret>");
}

TEST_CASE("a message that was cut within a secret does not show its beginning") {
  const auto m = of("abcdefghijkl");
  CHECK(m.masked("the server said: abcdefgh") == "the server said: <secret>");
  CHECK(m.masked("the server said: abcdefgh...") == "the server said: <secret>...");
  CHECK(m.masked("the server said: abcdefgh\xE2\x80\xA6") == "the server said: <secret>\xE2\x80\xA6");
  CHECK(m.masked("abc") == "abc");
}

TEST_CASE("of a URL that is a secret as a whole, the host may be shown") {
  const auto m = of("https://api.example/v1?key=0123456789");
  CHECK(m.masked("cannot connect to api.example") == "cannot connect to api.example");
  CHECK(m.masked("GET https://api.example/v1?key=0123456789") == "GET <secret>");
}

TEST_CASE("short secrets are not masked by value") {
  CHECK(of("abc").empty());
  CHECK(of("").empty());
}

TEST_CASE("each parameter of a URL that is a secret is masked on its own") {
  const auto m = of("https://dev:s3cretpw@api.example/x?api_key=SUPERSECRET&v=1&state=0123456789");
  CHECK(m.masked("args={\"api_key\":[\"SUPERSECRET\"],\"v\":[\"1\"]}") ==
        "args={\"api_key\":[\"<secret>\"],\"v\":[\"1\"]}");
  CHECK(m.masked("state 0123456789 of api.example") == "state <secret> of api.example");
  const auto database = of("postgresql://iot:s3cretpw@db.example/telemetry?sslmode=verify-full&sslpassword=hunter22");
  CHECK(database.masked("sslmode verify-full needs a root certificate") ==
        "sslmode verify-full needs a root certificate");
  CHECK(database.masked("hunter22") == "<secret>");
}

TEST_CASE("the parameters of a URL whose name is that of a secret are masked") {
  const auto m = in("http://api.example/x?apikey=S%2FPER%2bSECRET2&sig=ABCDEF&code=a+b+c+d&unit=celsius&auth=zyxw#top");
  CHECK(m.masked("apikey=S/PER+SECRET2") == "apikey=<secret>");
  CHECK(m.masked("apikey=S%2FPER%2BSECRET2") == "apikey=<secret>");
  CHECK(m.masked("apikey=S%2fPER%2bSECRET2") == "apikey=<secret>");
  CHECK(m.masked("apikey=S%2FPER%2bSECRET2") == "apikey=<secret>");
  CHECK(m.masked("sig=ABCDEF, code=a b c d, auth=zyxw") == "sig=<secret>, code=<secret>, auth=<secret>");
  CHECK(m.masked("unit=celsius") == "unit=celsius");
}

TEST_CASE("the credentials of Basic authentication of a URL's user are masked") {
  // base64 of "dev:s3cretpw", and of "d@v:p/ssword"
  CHECK(in("http://dev:s3cretpw@api.example/x").masked("Basic ZGV2OnMzY3JldHB3") == "Basic <secret>");
  CHECK(of("http://dev:s3cretpw@api.example/x").masked("Basic ZGV2OnMzY3JldHB3") == "Basic <secret>");
  CHECK(in("http://d%40v:p%2Fssword@api.example/x").masked("Basic ZEB2OnAvc3N3b3Jk") == "Basic <secret>");
}

TEST_CASE("percent escapes in lower case are masked") {
  CHECK(of("pa/ss+word").masked("?key=pa%2fss%2bword&x") == "?key=<secret>&x");
}
