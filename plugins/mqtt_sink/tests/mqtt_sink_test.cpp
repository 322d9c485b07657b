// SPDX-License-Identifier: Apache-2.0
#include "../topic.hpp"
#include "broker.hpp"

#include <pipeline/testing/conformance.hpp>

#include <doctest/doctest.h>
#include <mqtt_common/broker_url.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <set>
#include <thread>

using namespace std::chrono_literals;
using mqtt::testing::broker;
using mqtt::testing::received;
using mqtt::testing::scripted_broker;
using mqtt::testing::subscriber;
using pl::testing::config_fields;
using pl::testing::object;

namespace {

const pl_plugin& plugin() {
  static const pl_plugin* loaded = [] {
    std::string error;
    const auto* p = pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/mqtt_sink.so", error);
    REQUIRE_MESSAGE(p != nullptr, error);
    return p;
  }();
  return *loaded;
}
const pl_component& mqtt_sink() { return *pl::testing::find_component(plugin(), "mqtt_sink"); }

// One sink with its own host.
struct running {
  pl::testing::fake_host host;
  pl::testing::instance sink;

  explicit running(const config_fields& options) : sink(host, mqtt_sink(), options) {
    REQUIRE_MESSAGE(sink.create() == PL_OK, host.error_text());
  }
  // Retry the start, as the host does.
  running& started() {
    const auto until = std::chrono::steady_clock::now() + 120s;
    auto status = sink.start();
    while (status == PL_RETRY && std::chrono::steady_clock::now() < until) status = sink.start();
    REQUIRE_MESSAGE(status == PL_OK, host.error_text());
    return *this;
  }
  // Retry the write, as the host does.
  pl_status write_until_done(pl::batch_view b, std::chrono::seconds within = 120s) {
    const auto until = std::chrono::steady_clock::now() + within;
    for (;;) {
      const auto s = sink.write(b);
      if (s != PL_RETRY || std::chrono::steady_clock::now() > until) return s;
      ++retries;
      std::this_thread::sleep_for(20ms);
    }
  }
  int retries = 0;
};

config_fields options_for(const std::string& url, config_fields more = {}) {
  config_fields o = {{"url", url}, {"topic", "users/{user_id}/devices/{device_id}/alerts"}};
  for (auto& m : more) o.push_back(std::move(m));
  return o;
}

// Make rows of devices d0, d1, ... of user u, with numbers from `first` on.
pl::batch alerts(pl::testing::fake_host& host, std::uint32_t rows, std::int64_t first = 0) {
  std::vector<std::string> names(rows);
  std::vector<pl::cell> users, devices, numbers;
  for (std::uint32_t i = 0; i < rows; ++i) {
    names[i] = "d" + std::to_string(i % 10);
    users.push_back(pl::text_cell("u"));
    devices.push_back(pl::text_cell(names[i]));
    numbers.push_back(pl::int_cell(first + i));
  }
  return host.make_batch({{"user_id", users}, {"device_id", devices}, {"n", numbers}}, "test/0",
                         static_cast<std::uint64_t>(first));
}

pl::batch one_row(pl::testing::fake_host& host, pl::cell user, pl::cell device) {
  return host.make_batch({{"user_id", {user}}, {"device_id", {device}}, {"n", {pl::int_cell(1)}}});
}

std::set<std::string> payloads(const std::vector<received>& all) {
  std::set<std::string> set;
  for (const auto& r : all) set.insert(r.payload);
  return set;
}

std::string error_of(const config_fields& options, std::uint32_t writers = 1) {
  pl::testing::fake_host host;
  host.raw().lanes = writers;
  pl::testing::instance sink(host, mqtt_sink(), options);
  CHECK(sink.create() == PL_FATAL);
  return host.error_text();
}

void run(const std::string& command) {
  REQUIRE_MESSAGE(std::system((command + " >/dev/null 2>&1").c_str()) == 0, command);
}

}  // namespace

TEST_CASE("URLs are parsed, and invalid ones rejected") {
  const auto parsed = [](const char* text) {
    auto r = mqtt::parse_broker_url(text);
    REQUIRE_MESSAGE(r.ok(), text);
    return *r;
  };
  CHECK(parsed("mqtt://broker").name() == "broker:1883");
  CHECK(parsed("tcp://10.0.0.1:1884").name() == "10.0.0.1:1884");
  CHECK(parsed("mqtts://broker/").name() == "broker:8883");
  CHECK(parsed("ssl://broker:1").tls);
  CHECK(parsed("mqtt://[::1]:1883").name() == "[::1]:1883");
  CHECK(parsed("mqtt://[fe80::1]").name() == "[fe80::1]:1883");
  CHECK(parsed("mqtt://me:p%40ss%3A@h:1").password == "p@ss:");
  CHECK(parsed("mqtt://me@h").user == "me");
  for (const char* bad :
       {"broker:1883", "http://h", "mqtt://", "mqtt://h:0", "mqtt://h:70000", "mqtt://h:1x", "mqtt://h:", "mqtt://::1",
        "mqtt://[::1", "mqtt://h/path", "mqtt://a:%zz@h", "mqtt://a%00:b@h"})
    CHECK_MESSAGE(!mqtt::parse_broker_url(bad).ok(), bad);
  // A message contains nothing that may be a password; here the host is missing.
  CHECK(mqtt::parse_broker_url("mqtt://user:hunter2")
            .why()
            .message.find("the port after the host's ':' is not a number") == 0);
  CHECK(mqtt::parse_broker_url("hunter2@mqtt://h").why().message.find("unknown scheme; use mqtt") == 0);
  CHECK(mqtt::parse_broker_url("http://h").why().message.find("unknown scheme 'http'; use mqtt, tcp, mqtts or ssl") ==
        0);
}

TEST_CASE("escaped values stay different, and within one level") {
  const std::vector<std::string> values = {"a/b",
                                           "a%2Fb",
                                           "a%252Fb",
                                           "+",
                                           "#",
                                           "$SYS",
                                           "%24SYS",
                                           "a b",
                                           "\xC3\xA9",
                                           std::string(1, '\0'),
                                           "%00",
                                           "\xFF",
                                           "%FF",
                                           "\x7F",
                                           "\xC2\x85",
                                           "\xEF\xBF\xBF",
                                           "\xF0\x9F\xBF\xBE",
                                           "\xF0\x9F\x98\x80",
                                           "x"};
  std::set<std::string> escaped;
  for (const auto& v : values) {
    std::string out;
    mqtt::append_escaped(out, v);
    CHECK_FALSE(mqtt::topic_problem(out).has_value());
    CHECK(out.find_first_of("/+#$") == std::string::npos);
    escaped.insert(out);
  }
  CHECK(escaped.size() == values.size());
  CHECK(escaped.contains("a%2Fb"));
  CHECK(escaped.contains("\xF0\x9F\x98\x80"));
}

TEST_CASE("rows without a topic are rejected with the reason") {
  pl::testing::fake_host host;
  auto t = mqtt::topic_template::parse("u/{user_id}/d/{device_id}", mqtt::unsafe_ids::reject);
  REQUIRE(t.ok());
  const auto problem = [&](pl::cell user, pl::cell device) {
    auto b = host.make_batch({{"user_id", {user}}, {"device_id", {device}}});
    t->bind(b.get().schema());
    std::string topic;
    return t->render(topic, b.get(), 0).value_or("topic " + topic);
  };
  CHECK(problem(pl::text_cell("a"), pl::int_cell(7)) == "topic u/a/d/7");
  CHECK(problem(pl::text_cell(""), pl::text_cell("d")) == "'user_id' is empty, so the row has no topic");
  CHECK(problem(pl::text_cell("a"), pl::null_cell()) == "'device_id' is empty, so the row has no topic");
  CHECK(problem(pl::text_cell("a/b"), pl::text_cell("d")) ==
        "'user_id' is \"a/b\": '/' is not allowed in a topic level (unsafe_ids: escape would encode it)");
  CHECK(problem(pl::text_cell("a"), pl::bytes_cell("d\x1B[31m\xFF"))
            .find("'device_id' is \"d\\x1B[31m\\xFF\": a control character") == 0);
  const std::string long_id(70'000, 'x');
  CHECK(problem(pl::text_cell("a"), pl::text_cell(long_id)).find("the topic would be 70006 bytes long") == 0);
}

TEST_CASE("invalid templates are rejected with the reason") {
  const auto why = [](std::string_view source) {
    const auto t = mqtt::topic_template::parse(source, mqtt::unsafe_ids::escape);
    return t.ok() ? "accepted" : t.why().message;
  };
  CHECK(why("users/{user_id}") == "accepted");
  CHECK(why("{{a}}/{b}") == "accepted");
  CHECK(why("") == "a topic must not be empty");
  CHECK(why("a/{b") == "'{' at character 3 is not closed; write '{{' for a brace");
  CHECK(why("a}/b") == "'}' at character 2 has no '{' before it; write '}}' for a brace");
  CHECK(why("a/{}") == "empty '{}' at character 3; write the name of a column inside");
  CHECK(why("a/#") == "'#' is a wildcard, which is not allowed in a topic for publishing");
  CHECK(why("+/{a}") == "'+' is a wildcard, which is not allowed in a topic for publishing");
  CHECK(why("a\nb") == "the topic has a control character");
  CHECK(why(std::string_view("a\0b", 3)) == "the topic has a control character");
  CHECK(why("a/\xFF") == "the topic is not valid UTF-8");
  CHECK(why("a/{b\xD4}") == "the topic is not valid UTF-8");
  CHECK(why(std::string(70'000, 'x')) == "the topic is 70000 bytes long; MQTT allows 65,535");
}

TEST_CASE("invalid options are reported") {
  CHECK(error_of(options_for("broker")).find("url: the URL has no scheme; use for example mqtt://") == 0);
  CHECK(error_of({{"url", "mqtt://h"}, {"topic", "a/+/b"}}) ==
        "topic: '+' is a wildcard, which is not allowed in a topic for publishing");
  CHECK(error_of({{"url", "mqtt://h"}, {"topic", "a/{b"}}).find("topic: '{' at character 3 is not closed") == 0);
  CHECK(error_of(options_for("mqtt://h", {{"tls", object({})}})).find("tls: `tls` is set, but the scheme") == 0);
  CHECK(
      error_of(options_for("mqtt://h", {{"content_type", "x"}})).find("content_type: `content_type` requires MQTT 5") ==
      0);
  CHECK(error_of(options_for("mqtt://h", {{"qos", 2}, {"clean_session", false}})).find("clean_session: ") == 0);
  CHECK(error_of(options_for("mqtt://h", {{"password", "x"}})) == "password: a password requires `user`");
  CHECK(error_of(options_for("mqtt://a:b@h", {{"user", "x"}})).find("user: ") == 0);
  CHECK(error_of(options_for("mqtt://h", {{"client_id", "me"}}), 2) ==
        "client_id: with 2 writers each needs a different id; add {writer} to it");
  CHECK(error_of(options_for("mqtt://h", {{"will", object({{"topic", "a/#"}})}})).find("will.topic: ") == 0);
}

TEST_CASE("a missing column is reported before any message is sent") {
  running r(options_for("mqtt://127.0.0.1:1"));
  const auto* columns =
      static_cast<const pl_ext_columns*>(mqtt_sink().extension(r.sink.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(columns != nullptr);
  const pl_str names[] = {pl::borrow("user_id"), pl::borrow("deviceid")};
  const pl_schema* out = nullptr;
  CHECK(pl::testing::ask_columns(*columns, r.sink.self(), r.host.raw().schema(r.host.raw().ctx, names, 2), 0, out) ==
        PL_FATAL);
  CHECK(r.host.error_text() == "topic: the input has no column 'device_id'; its columns are: user_id, deviceid");
}

TEST_CASE("each QoS, with each version: all messages arrive on their topics") {
  broker b;
  b.start();
  for (const char* version : {"3.1.1", "5"})
    for (int qos = 0; qos <= 2; ++qos) {
      CAPTURE(version);
      CAPTURE(qos);
      subscriber s(b, "users/#", false, std::string("s") + version + std::to_string(qos));
      running r(options_for(b.url(), {{"qos", qos}, {"version", version}}));
      r.started();
      auto rows = alerts(r.host, 500);
      REQUIRE_MESSAGE(r.sink.write(rows.get()) == PL_OK, r.host.error_text());
      const auto all = s.wait_for(500);
      REQUIRE(all.size() == 500);
      CHECK(payloads(all).size() == 500);
      CHECK(all[3].qos == qos);
      CHECK(payloads(all).contains("{\"user_id\":\"u\",\"device_id\":\"d3\",\"n\":3}"));
      std::set<std::string> topics;
      for (const auto& m : all) topics.insert(m.topic);
      CHECK(topics.size() == 10);
      CHECK(topics.contains("users/u/devices/d3/alerts"));
      CHECK(r.host.sum("mqtt_sink_acknowledged_total") == 500);
      CHECK(r.sink.stop() == PL_OK);
    }
}

TEST_CASE("a value cannot reach another device's topic") {
  broker b;
  b.start();
  subscriber s(b, "#");
  running r(options_for(b.url()));
  r.started();
  const char* ids[] = {"a/../b", "+", "#", "$share", "a/devices/victim"};
  for (const char* id : ids) {
    auto row = one_row(r.host, pl::text_cell("u"), pl::text_cell(id));
    REQUIRE(r.sink.write(row.get()) == PL_OK);
  }
  const auto all = s.wait_for(5);
  REQUIRE(all.size() == 5);
  for (const auto& m : all) CHECK(std::count(m.topic.begin(), m.topic.end(), '/') == 4);
  CHECK(all[4].topic == "users/u/devices/a%2Fdevices%2Fvictim/alerts");
  auto nobody = one_row(r.host, pl::text_cell("u"), pl::text_cell(""));
  CHECK(r.sink.write(nobody.get()) == PL_OK);
  REQUIRE(r.host.rejects().size() == 1);
  CHECK(r.host.rejects()[0].reason == "'device_id' is empty, so the row has no topic");
}

TEST_CASE("values in a JSON payload cannot add members") {
  broker b;
  b.start();
  running r(
      options_for(b.url(), {{"payload", "{{\"id\":\"{device_id}\",\"user\":{user_id},\"n\":{n}}}"}, {"retain", true}}));
  r.started();
  auto row = one_row(r.host, pl::text_cell("u\"s"), pl::text_cell("x\",\"admin\":true,\"y\":\"z"));
  REQUIRE_MESSAGE(r.sink.write(row.get()) == PL_OK, r.host.error_text());
  subscriber late(b, "#", true);
  const auto all = late.wait_for(1);
  REQUIRE(all.size() == 1);
  CHECK(all[0].payload == "{\"id\":\"x\\\",\\\"admin\\\":true,\\\"y\\\":\\\"z\",\"user\":\"u\\\"s\",\"n\":1}");
}

TEST_CASE("messages have the configured payload, retain flag and MQTT 5 properties") {
  broker b;
  b.start();
  running r(options_for(b.url(), {{"payload", "{n}!"},
                                  {"retain", true},
                                  {"version", "5"},
                                  {"content_type", "text/plain"},
                                  {"message_expiry", std::chrono::nanoseconds(90s)},
                                  {"user_properties", object({{"id", "{device_id}-{n}"}})}}));
  r.started();
  auto row = one_row(r.host, pl::text_cell("u"), pl::text_cell("d"));
  REQUIRE_MESSAGE(r.sink.write(row.get()) == PL_OK, r.host.error_text());
  subscriber late(b, "#", true);  // receives the retained message
  const auto all = late.wait_for(1);
  REQUIRE(all.size() == 1);
  CHECK(all[0].payload == "1!");
  CHECK(all[0].retained);
  CHECK(all[0].content_type == "text/plain");
  CHECK(all[0].expiry > 0);
  CHECK(all[0].expiry <= 90);
  CHECK(all[0].user_properties.at("id") == "d-1");
}

TEST_CASE("the last will is published only after an unclean disconnect") {
  broker b;
  b.start();
  subscriber s(b, "status/#");
  const config_fields options = options_for(
      b.url(), {{"will", object({{"topic", "status/host"}, {"payload", "offline"}})}, {"client_id", "dying"}});
  {
    running good(options);
    good.started();
    CHECK(good.sink.stop() == PL_OK);
  }
  running disconnected(options);
  disconnected.started();
  running other(options);  // the same client id: the broker disconnects the first one
  other.started();
  const auto all = s.wait_for(1);
  REQUIRE(all.size() == 1);
  CHECK(all[0].topic == "status/host");
  CHECK(all[0].payload == "offline");
}

TEST_CASE("credentials come from options or URL, and a wrong password is reported") {
  broker b("allow_anonymous false\npassword_file {dir}/passwords");
  pl::testing::write_file(b.file("passwords"), "");
  run("mosquitto_passwd -b " + b.file("passwords") + " me 's3cret/'");
  b.start();
  for (const char* version : {"3.1.1", "5"}) {
    CAPTURE(version);
    running good(options_for(b.url(), {{"user", "me"}, {"password", "s3cret/"}, {"version", version}}));
    CHECK_MESSAGE(good.sink.check() == PL_OK, good.host.error_text());
    good.started();
    running in_url(options_for("mqtt://me:s3cret%2F@127.0.0.1:" + std::to_string(b.port()), {{"version", version}}));
    in_url.started();
    running bad(options_for(b.url(), {{"user", "me"}, {"password", "guess"}, {"version", version}}));
    CHECK(bad.sink.start() == PL_FATAL);
    const auto text = bad.host.error_text();
    CHECK(text.find("MQTT broker 127.0.0.1:" + std::to_string(b.port()) + " rejects the connection: ") == 0);
    CHECK(text.find("check `user` and `password`") != std::string::npos);
    CHECK(text.find("guess") == std::string::npos);
  }
}

TEST_CASE("without a broker, start returns retry with the system's error message") {
  broker never_started;
  running r(options_for(never_started.url()));
  CHECK(r.sink.start() == PL_RETRY);
  CHECK(r.host.error_text() == "cannot reach MQTT broker 127.0.0.1:" + std::to_string(never_started.port()) +
                                   ": Connection refused; check that it is running, and check `url`");
  running name(options_for("mqtt://no-such-host.invalid"));
  CHECK(name.sink.start() == PL_RETRY);
  CHECK(name.host.error_text().find("the name 'no-such-host.invalid' cannot be resolved") != std::string::npos);
}

TEST_CASE("no message is lost when the broker restarts during writes") {
  broker b;
  b.start();
  subscriber s(b, "users/#");
  running r(options_for(b.url(), {{"ack_timeout", std::chrono::nanoseconds(5s)}}));
  r.started();
  constexpr int batches = 60, rows = 200;
  std::atomic<int> written = 0;
  std::atomic<pl_status> last = PL_OK;
  std::thread writer([&] {
    for (int i = 0; i < batches && last == PL_OK; ++i) {
      auto batch = alerts(r.host, rows, i * rows);
      last = r.write_until_done(batch.get());
      ++written;
    }
  });
  for (int round = 1; round <= 2; ++round) {
    while (written < round * batches / 3 && last == PL_OK) std::this_thread::yield();
    b.stop(SIGTERM);  // keeps the acknowledged messages
    b.start();
  }
  writer.join();
  REQUIRE_MESSAGE(last == PL_OK, r.host.error_text());
  CHECK(r.host.rejects().empty());
  const auto all = s.wait_until([](const auto& m) { return payloads(m).size() >= batches * rows; });
  CHECK(payloads(all).size() == batches * rows);
}

TEST_CASE("after a connection loss while idle the next write reconnects") {
  broker b;
  b.start();
  running r(options_for(b.url()));
  r.started();
  b.stop(SIGKILL);
  b.start();
  subscriber s(b, "users/#");
  auto batch = alerts(r.host, 5);
  REQUIRE_MESSAGE(r.write_until_done(batch.get()) == PL_OK, r.host.error_text());
  CHECK(s.wait_for(5).size() == 5);
}

TEST_CASE("while the broker is stopped, write returns retry after ack_timeout; it succeeds when the broker continues") {
  broker b;
  b.start();
  running r(options_for(
      b.url(), {{"ack_timeout", std::chrono::nanoseconds(200ms)}, {"connect_timeout", std::chrono::nanoseconds(3s)}}));
  r.started();
  b.signal(SIGSTOP);
  auto batch = alerts(r.host, 3);
  CHECK(r.sink.write(batch.get()) == PL_RETRY);
  CHECK(r.host.error_text() ==
        "MQTT broker 127.0.0.1:" + std::to_string(b.port()) +
            ": no acknowledgement for 200ms (ack_timeout); 3 messages are unacknowledged and will be sent again");
  CHECK(r.sink.write(batch.get()) == PL_RETRY);  // a new connection gets no response either
  b.signal(SIGCONT);
  CHECK(r.write_until_done(batch.get()) == PL_OK);
}

TEST_CASE("at most max_in_flight messages are in flight") {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::uint16_t> open;
  std::size_t most = 0, seen = 0;
  scripted_broker b([&](scripted_broker&, const scripted_broker::publish& p) {
    const std::scoped_lock lock(mutex);
    open.push_back(p.id);
    most = std::max(most, open.size());
    ++seen;
    changed.notify_all();
    return true;
  });
  running r(options_for(b.url(), {{"max_in_flight", 7}}));
  r.started();
  auto batch = alerts(r.host, 50);
  std::atomic<pl_status> status{-1};
  std::thread writer([&] { status = r.sink.write(batch.get()); });
  while (status == -1) {
    std::vector<std::uint16_t> now;
    {
      std::unique_lock lock(mutex);
      // The whole window is in flight (the last one may be smaller), and no more until an acknowledgement.
      changed.wait_for(lock, 5s, [&] { return open.size() == 7 || seen == 50; });
      CHECK_FALSE(changed.wait_for(lock, 20ms, [&] { return open.size() > 7; }));
      now.swap(open);
    }
    for (const auto id : now) b.acknowledge(id);
    if (seen == 50 && now.empty()) break;
  }
  writer.join();
  CHECK(status == PL_OK);
  CHECK(most == 7);
  CHECK(seen == 50);
}

TEST_CASE("only unacknowledged messages are sent again after a connection loss") {
  std::vector<std::string> got;
  int allowed = 10;
  scripted_broker b([&](scripted_broker& self, const scripted_broker::publish& p) {
    got.push_back(p.payload);
    if (allowed-- <= 0) {
      allowed = 1'000;
      return false;
    }
    self.acknowledge(p.id);
    return true;
  });
  running r(options_for(b.url(), {{"max_in_flight", 1}, {"payload", "{n}"}}));
  r.started();
  auto batch = alerts(r.host, 20);
  CHECK(r.sink.write(batch.get()) == PL_RETRY);
  CHECK(r.host.error_text().find("1 message is unacknowledged and will be sent again") != std::string::npos);
  CHECK(r.sink.write(batch.get()) == PL_OK);
  CHECK(got.size() == 21);
  CHECK(std::count(got.begin(), got.end(), "10") == 2);
}

TEST_CASE("a message at which the broker always disconnects goes to the dead letters, and all others are delivered") {
  std::multiset<std::string> got;
  scripted_broker b([&](scripted_broker& self, const scripted_broker::publish& p) {
    if (p.payload == "13") return false;
    got.insert(p.payload);
    self.acknowledge(p.id);
    return true;
  });
  running r(options_for(b.url(), {{"max_in_flight", 20}, {"payload", "{n}"}}));
  r.started();
  auto batch = alerts(r.host, 30);
  CHECK(r.write_until_done(batch.get()) == PL_OK);
  REQUIRE(r.host.rejects().size() == 1);
  CHECK(r.host.rejects()[0].position == 13);
  CHECK(r.host.rejects()[0].reason.find("closed the connection 3 times on a message of") != std::string::npos);
  std::set<std::string> distinct(got.begin(), got.end());
  CHECK(distinct.size() == 29);
}

TEST_CASE("messages that are too large for the broker (MQTT 5 and 3.1.1) or for max_message are rejected") {
  broker b("allow_anonymous true\nmax_packet_size 2000");
  b.start();
  const std::string big(5'000, 'x');
  for (const char* version : {"5", "3.1.1"}) {
    CAPTURE(version);
    running r(options_for(b.url(), {{"version", version}}));
    r.started();
    auto batch = r.host.make_batch({{"user_id", {pl::text_cell("u"), pl::text_cell("u")}},
                                    {"device_id", {pl::text_cell("d"), pl::text_cell("e")}},
                                    {"text", {pl::text_cell(big), pl::text_cell("small")}}});
    CHECK_MESSAGE(r.write_until_done(batch.get()) == PL_OK, r.host.error_text());
    REQUIRE(r.host.rejects().size() == 1);
    CHECK(r.host.rejects()[0].row == 0);
    CHECK(r.host.sum("mqtt_sink_acknowledged_total") == 1);
  }
  running bounded(options_for(b.url(), {{"max_message", pl::byte_size{100}}}));
  bounded.started();
  auto batch = one_row(bounded.host, pl::text_cell("u"), pl::text_cell(big));
  CHECK(bounded.sink.write(batch.get()) == PL_OK);
  REQUIRE(bounded.host.rejects().size() == 1);
  CHECK(bounded.host.rejects()[0].reason.find("max_message is 100") != std::string::npos);
}

TEST_CASE("a topic that the broker's access list forbids is rejected (MQTT 5)") {
  broker b("allow_anonymous true\nacl_file {dir}/acl");
  pl::testing::write_file(b.file("acl"), "topic write users/u/devices/d1/#\n");
  b.start();
  running r(options_for(b.url(), {{"version", "5"}}));
  r.started();
  auto batch = alerts(r.host, 2);
  CHECK_MESSAGE(r.sink.write(batch.get()) == PL_OK, r.host.error_text());
  REQUIRE(r.host.rejects().size() == 1);
  CHECK(r.host.rejects()[0].position == 0);
  CHECK(r.host.rejects()[0].reason.find(
            "rejects the message to \"users/u/devices/d0/alerts\": Not authorized (0x87)") != std::string::npos);
}

TEST_CASE("TLS: the trusted authority connects; another authority and a wrong host name are rejected") {
  broker b("allow_anonymous true",
           "listener {port} 127.0.0.1\ncafile {dir}/ca.pem\ncertfile {dir}/cert.pem\nkeyfile "
           "{dir}/key.pem\nrequire_certificate true");
  const auto key_and_certificate = [&](const std::string& name, const std::string& more) {
    run("openssl req -newkey rsa:2048 -nodes -keyout " + b.file(name + "key.pem") + " -out " +
        b.file(name + "req.pem") + " -subj /CN=" + name + "test");
    pl::testing::write_file(b.file(name + "ext"), more);
    run("openssl x509 -req -in " + b.file(name + "req.pem") + " -CA " + b.file("ca.pem") + " -CAkey " +
        b.file("cakey.pem") + " -CAcreateserial -days 1 -extfile " + b.file(name + "ext") + " -out " +
        b.file(name + "cert.pem"));
  };
  run("openssl req -x509 -newkey rsa:2048 -nodes -keyout " + b.file("cakey.pem") + " -out " + b.file("ca.pem") +
      " -subj /CN=ca -days 1");
  run("openssl req -x509 -newkey rsa:2048 -nodes -keyout " + b.file("strangekey.pem") + " -out " +
      b.file("strange.pem") + " -subj /CN=strange -days 1");
  key_and_certificate("", "subjectAltName=IP:127.0.0.1");
  key_and_certificate("client", "extendedKeyUsage=clientAuth");
  b.start();
  const auto tls = [&](const std::string& ca, bool verify = true) {
    return std::pair<std::string, pl::testing::config_value>("tls", object({{"ca", b.file(ca)},
                                                                            {"cert", b.file("clientcert.pem")},
                                                                            {"key", b.file("clientkey.pem")},
                                                                            {"verify", verify}}));
  };
  {
    running good(options_for(b.url("mqtts"), {tls("ca.pem")}));
    good.started();
    auto batch = alerts(good.host, 300);
    CHECK_MESSAGE(good.sink.write(batch.get()) == PL_OK, good.host.error_text());
  }
  running strange(options_for(b.url("mqtts"), {tls("strange.pem")}));
  CHECK(strange.sink.start() == PL_RETRY);
  CHECK(strange.host.error_text().find("no TLS connection to MQTT broker 127.0.0.1:" + std::to_string(b.port()) +
                                       ": ") == 0);
  CHECK(strange.host.error_text().find("check that `tls.ca` is the authority that signed the broker's certificate") !=
        std::string::npos);
  running unverified(options_for(b.url("ssl"), {tls("strange.pem", false)}));
  unverified.started();
  running wrong_name(options_for("mqtts://localhost:" + std::to_string(b.port()), {tls("ca.pem")}));
  CHECK(wrong_name.sink.start() == PL_RETRY);
  CHECK(wrong_name.host.error_text().find("hostname mismatch; the broker's certificate is for another host") !=
        std::string::npos);
  const auto ca_alone = object({{"ca", b.file("ca.pem")}});
  running nobody(options_for(b.url("mqtts"), {{"tls", ca_alone}}));
  CHECK(nobody.sink.start() == PL_RETRY);
  CHECK(nobody.host.error_text().find("certificate required; it requires a client certificate that it trusts") !=
        std::string::npos);
  pl::testing::fake_host half_host;
  const auto half = object({{"key", b.file("clientkey.pem")}});
  pl::testing::instance half_sink(half_host, mqtt_sink(), options_for(b.url("mqtts"), {{"tls", half}}));
  CHECK(half_sink.create() == PL_FATAL);
  CHECK(half_host.error_text().find("tls.key: a key requires its certificate") == 0);
  running missing(options_for(b.url("mqtts"), {tls("nothing.pem")}));
  CHECK(missing.sink.start() == PL_FATAL);
  CHECK(missing.host.error_text().find("tls.ca: cannot read ") == 0);
  running plain(options_for(b.url("mqtt"), {{"connect_timeout", std::chrono::nanoseconds(3s)}}));
  CHECK(plain.sink.start() == PL_RETRY);
  CHECK(plain.host.error_text().find("whether this port requires TLS (mqtts://)") != std::string::npos);
}

TEST_CASE("default client ids are stable and differ for each writer; check does not disconnect a running sink") {
  broker b;
  b.start();
  running first(options_for(b.url()));
  first.started();
  running checks(options_for(b.url()));
  CHECK(checks.sink.check() == PL_OK);
  auto batch = alerts(first.host, 3);
  CHECK(first.sink.write(batch.get()) == PL_OK);
  CHECK(first.host.sum("mqtt_sink_connects_total") == 1);

  const auto id_of = [&](std::uint32_t writer, const char* state_dir) {
    pl::testing::fake_host host;
    host.raw().lane = writer;
    host.raw().lanes = 2;
    host.raw().state_dir = pl::borrow(state_dir);
    pl::testing::instance sink(host, mqtt_sink(), options_for(b.url()));
    REQUIRE(sink.create() == PL_OK);
    REQUIRE(sink.start() == PL_OK);
    const auto message = host.logs().at(0).message;  // connected to ... as <id>
    return message.substr(message.rfind(' ') + 1);
  };
  const auto id = id_of(0, "a");
  CHECK(id.find("test-node-0-") == 0);
  CHECK(id == id_of(0, "a"));
  CHECK(id != id_of(1, "a"));
  CHECK(id != id_of(0, "b"));
}

TEST_CASE("the plugin passes the conformance checks") {
  for (const auto& p : pl::testing::check_plugin(plugin())) FAIL_CHECK(p);
  broker b;
  b.start();
  for (const auto& p : pl::testing::check_life(mqtt_sink(), {{"url", b.url()}, {"topic", "t/{value}"}}, {"value"}))
    FAIL_CHECK(p);
}
