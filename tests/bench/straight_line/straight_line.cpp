// SPDX-License-Identifier: Apache-2.0
// The yardstick of the benchmarks: the work of configs/iot.yaml without a framework. Each connection is one loop that
// consumes, parses, checks thresholds, and copies rows with their positions. It has no retries, no dead letters, no
// metrics and no limits of memory, and alerts are only counted.
//
//   straight_line BROKERS TOPIC DATABASE_URL|- [connections] [rows per transaction]
//
// `-` leaves the database out. The program reads each partition up to its present end, from the position in the table
// straight_line_positions. It prints one JSON object: rate and CPU time from the first transaction to the last one.
#include "reading.hpp"
#include "row_copy.hpp"

#include <librdkafka/rdkafka.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace straight;

constexpr int patience_ms = 30'000;

struct settings {
  std::string brokers, topic, database;
  std::uint32_t connections = 1, rows = 10'000;
};

double seconds_of(const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; }
rusage usage() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return used;
}
double cpu_seconds() {
  const auto used = usage();
  return seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
}

// What all connections have done since the first transaction.
class progress {
 public:
  void add(std::uint64_t rows, std::uint64_t alerts, std::uint64_t rejected) {
    std::scoped_lock lock(mutex_);
    last_ = std::chrono::steady_clock::now();
    if (transactions_++ == 0) {
      began_ = last_;
      cpu_ = cpu_seconds();
      first_rows_ = rows;
    }
    rows_ += rows;
    alerts_ += alerts;
    rejected_ += rejected;
  }
  void print() const {
    const double took = std::chrono::duration<double>(last_ - began_).count();
    const auto counted = static_cast<double>(rows_ - first_rows_);
    std::printf(
        "{\"rows\": %llu, \"rejected\": %llu, \"alerts\": %llu, \"transactions\": %llu, \"seconds\": %.6f, "
        "\"rows_per_second\": %.1f, \"cpu_us_per_row\": %.4f, \"peak_memory_mib\": %.1f}\n",
        static_cast<unsigned long long>(rows_), static_cast<unsigned long long>(rejected_),
        static_cast<unsigned long long>(alerts_), static_cast<unsigned long long>(transactions_), took,
        took > 0 ? counted / took : 0, counted > 0 ? (cpu_seconds() - cpu_) / counted * 1e6 : 0,
        static_cast<double>(usage().ru_maxrss) / 1024);
  }

 private:
  std::mutex mutex_;
  std::chrono::steady_clock::time_point began_, last_;
  double cpu_ = 0;
  std::uint64_t rows_ = 0, first_rows_ = 0, alerts_ = 0, rejected_ = 0, transactions_ = 0;
};

[[noreturn]] void fail(const std::string& what, rd_kafka_resp_err_t error) {
  throw std::runtime_error(what + ": " + rd_kafka_err2str(error));
}

class consumer {
 public:
  explicit consumer(const settings& s) : topic_(s.topic) {
    auto* conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", s.brokers);
    set(conf, "group.id", "straight-line");
    set(conf, "enable.auto.commit", "false");
    set(conf, "queued.min.messages", "500000");  // with the default, fetching pauses for up to a second
    set(conf, "queued.max.messages.kbytes", "131072");
    std::array<char, 256> why{};
    handle_.reset(rd_kafka_new(RD_KAFKA_CONSUMER, conf, why.data(), why.size()));
    if (!handle_) throw std::runtime_error(why.data());
    rd_kafka_poll_set_consumer(handle_.get());
    queue_.reset(rd_kafka_queue_get_consumer(handle_.get()));
  }
  [[nodiscard]] std::int32_t partitions() {
    const std::unique_ptr<rd_kafka_topic_t, decltype(&rd_kafka_topic_destroy)> topic(
        rd_kafka_topic_new(handle_.get(), topic_.c_str(), nullptr), rd_kafka_topic_destroy);
    const rd_kafka_metadata_t* found = nullptr;
    if (const auto e = rd_kafka_metadata(handle_.get(), 0, topic.get(), &found, patience_ms)) fail("metadata", e);
    const auto count = found->topic_cnt == 1 ? found->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(found);
    if (count == 0) throw std::runtime_error("the topic " + topic_ + " does not exist");
    return count;
  }
  struct offsets {
    std::int64_t first = 0, end = 0;
  };
  [[nodiscard]] offsets ends_of(std::int32_t partition) {
    offsets found;
    const auto e = rd_kafka_query_watermark_offsets(handle_.get(), topic_.c_str(), partition, &found.first, &found.end,
                                                    patience_ms);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR) fail("watermarks", e);
    return found;
  }
  void assign(const std::map<std::int32_t, offsets>& from) {
    const std::unique_ptr<rd_kafka_topic_partition_list_t, decltype(&rd_kafka_topic_partition_list_destroy)> list(
        rd_kafka_topic_partition_list_new(static_cast<int>(from.size())), rd_kafka_topic_partition_list_destroy);
    for (const auto& [partition, o] : from)
      rd_kafka_topic_partition_list_add(list.get(), topic_.c_str(), partition)->offset = o.first;
    if (const auto e = rd_kafka_assign(handle_.get(), list.get())) fail("assign", e);
  }
  // Return the number of messages, which the caller destroys.
  [[nodiscard]] std::size_t consume(std::vector<rd_kafka_message_t*>& to) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
    while (std::chrono::steady_clock::now() < until) {
      // The call returns when `to` is full, or after 10 ms.
      const auto n = rd_kafka_consume_batch_queue(queue_.get(), 10, to.data(), to.size());
      if (n > 0) return static_cast<std::size_t>(n);
    }
    throw std::runtime_error("no message has arrived for 30 s");
  }

 private:
  static void set(rd_kafka_conf_t* conf, const char* name, const std::string& value) {
    std::array<char, 256> why{};
    if (rd_kafka_conf_set(conf, name, value.c_str(), why.data(), why.size()) != RD_KAFKA_CONF_OK)
      throw std::runtime_error(why.data());
  }
  std::string topic_;
  std::unique_ptr<rd_kafka_t, decltype(&rd_kafka_destroy)> handle_{nullptr, rd_kafka_destroy};
  std::unique_ptr<rd_kafka_queue_t, decltype(&rd_kafka_queue_destroy)> queue_{nullptr, rd_kafka_queue_destroy};
};

// One connection with every `connections`-th partition.
class worker {
 public:
  worker(const settings& s, std::uint32_t number, progress& done) : rows_(s.rows), done_(done), in_(s) {
    if (s.database != "-") out_.emplace(s.database);
    const auto partitions = in_.partitions();
    for (auto p = static_cast<std::int32_t>(number); p < partitions; p += static_cast<std::int32_t>(s.connections)) {
      auto range = in_.ends_of(p);
      if (out_) range.first = std::max(range.first, out_->position(p, range.first));
      if (range.first < range.end) left_[p] = range;
    }
  }
  void run() {
    if (left_.empty()) return;
    in_.assign(left_);
    std::vector<rd_kafka_message_t*> messages(4096);
    while (!left_.empty()) {
      const auto n = in_.consume(messages);
      reader_.begin_batch();
      for (std::size_t i = 0; i < n; ++i) {
        take(*messages[i]);
        rd_kafka_message_destroy(messages[i]);
      }
      if (!out_) commit();
    }
    if (!moves_.empty()) commit();
  }

 private:
  void take(const rd_kafka_message_t& m) {
    if (m.err != RD_KAFKA_RESP_ERR_NO_ERROR) fail("consume", m.err);
    const auto left = left_.find(m.partition);
    if (left == left_.end()) return;  // beyond the end as it was at the start
    if (reader_.read({static_cast<const char*>(m.payload), m.len}, reading_)) {
      alerts_ += thresholds_.check(reading_);
      if (out_) out_->append(reading_);
      ++pending_;
    } else {
      ++rejected_;
    }
    auto& move = moves_.try_emplace(m.partition, row_copy::move{m.offset, 0}).first->second;
    move.next = m.offset + 1;
    if (move.next >= left->second.end) left_.erase(left);
    if (out_ && pending_ >= rows_) commit();
  }
  void commit() {
    if (out_) out_->commit(moves_);
    done_.add(pending_, alerts_, rejected_);
    pending_ = alerts_ = rejected_ = 0;
    moves_.clear();
  }

  const std::uint32_t rows_;
  progress& done_;
  consumer in_;
  std::optional<row_copy> out_;
  std::map<std::int32_t, consumer::offsets> left_;  // partitions that are not read up to their end
  std::map<std::int32_t, row_copy::move> moves_;
  reader reader_;
  reading reading_;
  thresholds thresholds_;
  std::uint64_t pending_ = 0, alerts_ = 0, rejected_ = 0;
};

void run(const settings& s) {
  progress done;
  std::vector<std::unique_ptr<worker>> workers;
  for (std::uint32_t i = 0; i < s.connections; ++i) workers.push_back(std::make_unique<worker>(s, i, done));
  std::vector<std::exception_ptr> errors(workers.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < workers.size(); ++i)
    threads.emplace_back([&, i] {
      try {
        workers[i]->run();
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
  for (auto& t : threads) t.join();
  for (const auto& e : errors)
    if (e) std::rethrow_exception(e);
  done.print();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 4) throw std::runtime_error("usage: straight_line BROKERS TOPIC DATABASE_URL|- [connections] [rows]");
    settings s{argv[1], argv[2], argv[3]};
    if (argc > 4) s.connections = static_cast<std::uint32_t>(std::stoul(argv[4]));
    if (argc > 5) s.rows = static_cast<std::uint32_t>(std::stoul(argv[5]));
    if (s.connections == 0 || s.rows == 0) throw std::runtime_error("connections and rows must be at least 1");
    run(s);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "straight_line: %s\n", error.what());
    return 1;
  }
}
