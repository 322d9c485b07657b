// SPDX-License-Identifier: Apache-2.0
// A Kafka-compatible in-memory broker for demos and tests: librdkafka's mock cluster as a program. It listens on
// loopback and discards all data when it stops. It cannot prove a delivery guarantee; use Apache Kafka for that.
#include <pipeline/freed_by.hpp>
#include <pipeline/posix.hpp>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int usage_error = 2;
constexpr std::string_view usage =
    "Usage: pipeline-demo-broker [--topic NAME[:PARTITIONS]]... [--brokers N] [--port-file FILE]\n"
    "\n"
    "A Kafka-compatible in-memory broker on loopback, for demos and tests. Prints its bootstrap servers (host:port)\n"
    "on one line and runs until SIGTERM or SIGINT. Topics that a producer writes to are created automatically.\n"
    "\n"
    "  --topic NAME[:PARTITIONS]  create a topic (default: 1 partition); may be repeated\n"
    "  --brokers N                number of brokers, 1 to 10 (default: 1)\n"
    "  --port-file FILE           also write the bootstrap servers to this file, once the broker is ready\n"
    "  --help                     print this text\n";

struct topic {
  std::string name;
  int partitions = 1;
};

struct arguments {
  std::vector<topic> topics;
  int brokers = 1;
  std::string port_file;
};

std::optional<int> number_between(std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high) return std::nullopt;
  return value;
}

[[noreturn]] void exit_with_usage(const std::string& why) {
  std::cerr << "pipeline-demo-broker: " << why << "\n\n" << usage;
  std::exit(usage_error);
}

topic parse_topic(std::string_view text) {
  const auto colon = text.rfind(':');
  topic t{std::string(text.substr(0, colon)), 1};
  if (t.name.empty()) exit_with_usage("--topic needs a name, but has '" + std::string(text) + "'");
  if (colon == std::string_view::npos) return t;
  const auto partitions = number_between(text.substr(colon + 1), 1, 1000);
  if (!partitions)
    exit_with_usage("the partitions of --topic " + std::string(text) + " must be a number from 1 to 1000");
  t.partitions = *partitions;
  return t;
}

arguments parse(const std::vector<std::string_view>& words) {
  arguments given;
  for (std::size_t i = 0; i < words.size(); i += 2) {  // a name and its value
    if (words[i] == "--help" || words[i] == "-h") {
      std::cout << usage;
      std::exit(0);
    }
    if (words[i] != "--topic" && words[i] != "--brokers" && words[i] != "--port-file")
      exit_with_usage("unknown argument '" + std::string(words[i]) + "'");
    if (i + 1 == words.size()) exit_with_usage(std::string(words[i]) + " needs a value");
    const auto value = words[i + 1];
    if (words[i] == "--topic") given.topics.push_back(parse_topic(value));
    if (words[i] == "--port-file") given.port_file = value;
    if (words[i] == "--brokers") {
      const auto count = number_between(value, 1, 10);
      if (!count) exit_with_usage("--brokers must be a number from 1 to 10");
      given.brokers = *count;
    }
  }
  return given;
}

// Write a file atomically: a process that waits for the file must not read half of its content.
bool write_atomically(const std::string& file, const std::string& text) {
  return !pl::replace_file(file, text + '\n', ".part");
}

int serve(const arguments& given, const sigset_t& stop_signals) {
  char why[512] = {};
  const std::unique_ptr<rd_kafka_t, pl::freed_by<rd_kafka_destroy>> client(
      rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why));
  if (!client) {
    std::cerr << "pipeline-demo-broker: " << why << '\n';
    return 1;
  }
  const std::unique_ptr<rd_kafka_mock_cluster_t, pl::freed_by<rd_kafka_mock_cluster_destroy>> cluster(
      rd_kafka_mock_cluster_new(client.get(), given.brokers));
  if (!cluster) {
    std::cerr << "pipeline-demo-broker: cannot start the brokers: no free port on loopback\n";
    return 1;
  }
  for (const auto& t : given.topics) {
    const auto code = rd_kafka_mock_topic_create(cluster.get(), t.name.c_str(), t.partitions, 1);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    std::cerr << "pipeline-demo-broker: cannot create topic " << t.name << ": " << rd_kafka_err2str(code) << '\n';
    return 1;
  }
  const std::string servers = rd_kafka_mock_cluster_bootstraps(cluster.get());
  std::cout << servers << std::endl;
  if (!given.port_file.empty() && !write_atomically(given.port_file, servers)) {
    std::cerr << "pipeline-demo-broker: cannot write " << given.port_file << '\n';
    return 1;
  }
  int signal = 0;
  sigwait(&stop_signals, &signal);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const auto given = parse({argv + 1, argv + argc});
  // Block the signals before librdkafka starts its threads, which inherit the mask: only sigwait may receive them.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  return serve(given, stop_signals);
}
