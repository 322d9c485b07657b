// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "clock.hpp"
#include "dead_letters.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <random>
#include <stdexcept>

namespace pl::load {
namespace {

constexpr std::uint32_t max_devices = 1'000'000;
constexpr std::uint32_t default_max_connections = 1'000;  // each uses a file descriptor here and in the broker

struct texts {
  std::string broker = "mqtt://127.0.0.1:1883";
  std::string duration, ramp = "0", burst, settle = "30s", trial = "10s", max_latency = "2s";
  double rate_per_device = 0;
  bool insecure = false;
};

class usage_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Return a range check without a description: the help texts state the ranges.
template <class T>
CLI::Validator between(T min, T max) {
  return CLI::Range(min, max).description("");
}

void add_places(CLI::App& app, options& o, texts& t) {
  constexpr auto group = "Where";
  app.add_option("--broker", t.broker, "MQTT broker: mqtt[s]://user:password@host:port")
      ->envname("MQTT_URL")
      ->capture_default_str()
      ->group(group);
  app.add_option("--ca", o.broker.ca_file, "PEM file of the CAs that sign the broker's certificate (mqtts)")
      ->group(group);
  auto* cert =
      app.add_option("--cert", o.broker.cert_file, "PEM file of the devices' client certificate (mqtts)")->group(group);
  auto* key = app.add_option("--key", o.broker.key_file, "PEM file of the key of --cert")->needs(cert)->group(group);
  cert->needs(key);
  app.add_flag("--insecure", t.insecure, "mqtts: do not verify the broker's certificate")->group(group);
  app.add_option("--database", o.database, "Database in which --verify counts the rows")
      ->envname("DATABASE_URL")
      ->default_str("that of docker/compose.yaml")
      ->group(group);
  app.add_option("--table", o.table, "Table with the telemetry")->capture_default_str()->group(group);
  app.add_option("--extra-column", o.extra_column, "JSON column of that table with the unmapped fields: run, seq")
      ->capture_default_str()
      ->group(group);
  app.add_option("--alerts-topic", o.alerts_topic, "MQTT topic filter of the alerts; may contain + and #")
      ->capture_default_str()
      ->group(group);
  app.add_option("--dead-letters", o.dead_letters,
                 "Dead letters to count: a file or kafka://broker:9092/topic; may be repeated")
      ->group(group);
}

void add_devices(CLI::App& app, options& o) {
  constexpr auto group = "Who";
  app.add_option("--users", o.users, "Number of users")
      ->check(between(1U, max_devices))
      ->capture_default_str()
      ->group(group);
  app.add_option("--devices-per-user", o.devices_per_user, "Number of devices of each user")
      ->check(between(1U, max_devices))
      ->capture_default_str()
      ->group(group);
  app.add_option("--connections", o.connections,
                 "Number of MQTT connections that the devices share (one for each device, at most 1000)")
      ->check(between(1U, max_devices))
      ->group(group);
  app.add_option("--qos", o.qos, "MQTT quality of service")->check(between(0, 2))->capture_default_str()->group(group);
  app.add_option("--in-flight", o.window, "Maximum unacknowledged messages of a connection (100; 20 with QoS 2)")
      ->check(between(1, 65'000))
      ->group(group);
  app.add_option("--device-prefix", o.device_prefix, "Prefix of the device ids (the run's id, so that ids are unique)")
      ->group(group);
  app.add_option("--run", o.run, "Id of this run, part of each message (random)")->group(group);
  app.add_option("--seed", o.seed, "Seed of the random readings and faults")->capture_default_str()->group(group);
}

void add_load(CLI::App& app, options& o, texts& t) {
  constexpr auto group = "How much";
  auto* rate = app.add_option("--rate", o.rate, "Messages per second of all devices together; 0: as fast as possible")
                   ->check(between(0.0, 1e7))
                   ->capture_default_str()
                   ->group(group);
  app.add_option("--rate-per-device", t.rate_per_device, "Messages per second of each device")
      ->check(between(0.0, 1e6))
      ->excludes(rate)
      ->group(group);
  app.add_option("--duration", t.duration, "How long: 90s, 5m, 2h; 0: until Ctrl-C (60s, or until --count is reached)")
      ->group(group);
  app.add_option("--count", o.count, "Stop after this number of readings")->group(group);
  app.add_option("--ramp", t.ramp, "Time in which the rate grows from 0")->capture_default_str()->group(group);
  app.add_option("--burst", t.burst, "SIZE:EVERY, such as 500:10s: send SIZE additional messages at once, every EVERY")
      ->group(group);
}

void add_faults(CLI::App& app, options& o) {
  constexpr auto group = "Faults, in percent";
  const auto percent = between(0.0, 100.0);
  app.add_option("--duplicates", o.duplicates, "Messages to publish twice")->check(percent)->group(group);
  app.add_option("--reorder", o.reorder, "Messages to publish after the device's next message")
      ->check(between(0.0, 90.0))
      ->group(group);
  app.add_option("--broken", o.broken, "Messages that cannot be parsed")->check(percent)->group(group);
  app.add_option("--silent", o.silent, "Devices that stop sending after half of --duration")
      ->check(percent)
      ->group(group);
  app.add_option("--anomalies", o.anomalies,
                 "Readings above the threshold, in series of five, each of which raises an alert")
      ->check(between(0.0, 80.0))
      ->group(group);
  app.add_option("--alert-rule", o.rule, "Name of the alert rule for --anomalies")->capture_default_str()->group(group);
  app.add_option("--alert-above", o.threshold, "Temperature above which the rule fires")
      ->check(between(-200.0, 1e6))
      ->capture_default_str()
      ->group(group);
  app.add_option("--alert-clear", o.clear, "Temperature below which the alert is resolved")
      ->check(between(-200.0, 1e6))
      ->capture_default_str()
      ->group(group);
}

void add_outcome(CLI::App& app, options& o, texts& t) {
  constexpr auto group = "Outcome";
  app.add_flag("--verify", o.verify, "Count the rows in the database and subscribe to the alerts")->group(group);
  app.add_flag("--one-row-each", o.one_row_each, "Expect one row, not two, of a message that was published twice")
      ->group(group);
  app.add_option("--settle-timeout", t.settle, "After the last message: stop waiting if nothing arrives for this time")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--json", o.json, "Print the report as JSON on stdout")->group(group);
  app.add_flag("--quiet", o.quiet, "Do not show progress")->group(group);
  app.add_flag("--find-limit", o.find_limit, "Find the highest rate that is sustained without loss (implies --verify)")
      ->group(group);
  app.add_option("--trial", t.trial, "--find-limit: duration of the trial of a rate")
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-latency", t.max_latency,
                 "--find-limit: maximum p99 latency to the database of a sustained rate")
      ->capture_default_str()
      ->group(group);
}

std::int64_t duration(const std::string& name, const std::string& text) {
  if (const auto ns = parse_duration(text)) return *ns;
  throw usage_error(fmt::format("{}: '{}' is not a duration; write 500ms, 10s, 5m or 2h", name, text));
}

void take_burst(const std::string& text, options& o) {
  const auto colon = text.find(':');
  const auto [end, error] = std::from_chars(text.data(), text.data() + std::min(colon, text.size()), o.burst);
  if (colon == std::string::npos || error != std::errc{} || end != text.data() + colon || o.burst == 0)
    throw usage_error(fmt::format("--burst: '{}' is not SIZE:EVERY, such as 500:10s", text));
  o.burst_every_ns = duration("--burst", text.substr(colon + 1));
  if (o.burst_every_ns == 0) throw usage_error("--burst: the time between bursts must not be 0");
  if (o.rate <= 0) throw usage_error("--burst needs a --rate: with 0, all messages are sent without pause");
}

std::string random_run_id() {
  std::random_device device;
  constexpr std::string_view letters = "abcdefghijkmnpqrstuvwxyz";  // no digits, because a number follows the id
  std::string id;
  for (int i = 0; i < 8; ++i) id += letters[device() % letters.size()];
  return id;
}

void take_broker(options& o, const texts& t) {
  const auto url = mqtt::parse_broker_url(t.broker);
  if (!url) throw usage_error("--broker: " + url.why().message);
  o.broker.url = *url;
  o.broker.verify_tls = !t.insecure;
}

void take_times(options& o, const texts& t) {
  o.ramp_ns = duration("--ramp", t.ramp);
  o.settle_ns = duration("--settle-timeout", t.settle);
  o.trial_ns = duration("--trial", t.trial);
  o.max_latency_ns = duration("--max-latency", t.max_latency);
  o.duration_ns = duration("--duration", t.duration.empty() ? (o.count > 0 ? "0" : "60s") : t.duration);
  if (o.ramp_ns > 0 && o.rate <= 0) throw usage_error("--ramp needs a --rate to grow to");
  if (!t.burst.empty()) take_burst(t.burst, o);
  if (o.find_limit && o.trial_ns == 0) throw usage_error("--trial must not be 0");
}

void take_names(options& o) {
  if (o.run.empty()) o.run = random_run_id();
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  if (o.run.find_first_not_of(allowed) != std::string::npos || o.run.size() < 4 || o.run.size() > 60)
    throw usage_error(fmt::format("--run: '{}' is not an id of 4 to 60 letters, digits, _ and -", o.run));
  if (o.device_prefix.find_first_not_of(allowed) != std::string::npos || o.device_prefix.size() > 60)
    throw usage_error(
        fmt::format("--device-prefix: '{}' is not a prefix of at most 60 letters, digits, _ and -", o.device_prefix));
}

void finish(options& o, const texts& t) {
  const auto devices = std::uint64_t{o.users} * o.devices_per_user;
  if (devices > max_devices)
    throw usage_error(fmt::format("{} devices are more than the maximum of {}; lower --users or --devices-per-user",
                                  devices, max_devices));
  if (t.rate_per_device > 0) o.rate = t.rate_per_device * static_cast<double>(devices);
  const auto count = static_cast<std::uint32_t>(devices);
  o.connections = o.connections == 0 ? std::min(count, default_max_connections) : std::min(o.connections, count);
  if (o.window == 0) o.window = o.qos == 2 ? 20 : 100;
  if (o.clear >= o.threshold) throw usage_error("--alert-clear must be less than --alert-above");
  for (const auto& location : o.dead_letters)
    if (auto wrong = check_location(location); !wrong.empty()) throw usage_error("--dead-letters: " + wrong);
  o.verify = o.verify || o.find_limit;
  take_broker(o, t);
  take_times(o, t);
  take_names(o);
  if (o.silent > 0 && o.duration_ns == 0 && !o.find_limit)
    throw usage_error("--silent needs a --duration: devices go silent at half of it");
}

}  // namespace

std::variant<options, int> parse_options(int argc, const char* const* argv) {
  options o;
  texts t;
  CLI::App app(
      "Simulate devices that publish telemetry over MQTT, and account for every message.\n"
      "Exit codes: 0 nothing lost or duplicated; 1 a message lost or duplicated, or an alert missing; 2 invalid usage; "
      "3 a server is not reachable.",
      "load-tester");
  app.get_formatter()->column_width(34);
  add_load(app, o, t);
  add_devices(app, o);
  add_faults(app, o);
  add_outcome(app, o, t);
  add_places(app, o, t);
  try {
    app.parse(argc, argv);
    finish(o, t);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& e) {
    std::cerr << "load-tester: " << e.what() << "\nRun load-tester --help for a list of the options.\n";
    return exit_usage;
  } catch (const usage_error& e) {
    std::cerr << "load-tester: " << e.what() << '\n';
    return exit_usage;
  }
  return o;
}

}  // namespace pl::load
