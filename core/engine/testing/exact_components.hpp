// SPDX-License-Identifier: Apache-2.0
// A broker and a database in memory, and components that use them, for tests of exactly-once delivery. Several
// pipelines may use them at once. A test can make a call fail, or lose the reply to a call that succeeded.
#pragma once

#include <pipeline/plugin.hpp>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

namespace pl::engine::test {

// One topic. Its partitions belong to the pipeline that started last, a new one to a pipeline that runs.
struct fake_broker {
  struct partition {
    std::uint64_t end = 0, committed = 0;
    bool has_committed = false, marked = false;
    bool was_owned = false;   // a source instance owns the partition, or did so earlier
    std::uint64_t owner = 0;  // the source instance that owns the partition; 0: none
    std::uint64_t read = 0;   // up to here by its owner
  };
  std::mutex mutex;
  std::map<std::string, partition> partitions;
  std::uint64_t members = 0;

  void reset(const std::string& stream, std::uint64_t to) {  // like Kafka's tools: without the host's mark
    std::scoped_lock lock(mutex);
    partitions[stream].committed = to;
    partitions[stream].has_committed = true;
    partitions[stream].marked = false;
  }
};

struct fake_database {
  struct position {
    std::uint64_t next = 0, epoch = 0;
    std::uint64_t token = 0;
  };
  using key = std::tuple<std::string, std::string, std::string>;  // sink, source, stream
  std::mutex mutex;
  std::map<key, position> positions;
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::string>
      state;  // by sink, stream, node, key
  std::map<std::string, std::map<std::pair<std::string, std::uint64_t>, int>>
      rows;  // by sink and place: number of writes
  std::uint64_t writes = 0, fenced = 0;
  std::map<std::string, std::uint64_t> largest;  // by sink: rows of its largest write

  // away: the write fails. lose_reply: the write is committed, but its reply is lost.
  std::function<bool(std::uint64_t write)> away, lose_reply;
  std::function<bool(std::string_view text)> refuse;  // the row is rejected
  std::function<bool(std::uint64_t rows)>
      exhausted;        // a write with this number of rows needs more than the database has
  bool silent = false;  // reading a position fails

  int times(const std::string& sink, const std::string& stream, std::uint64_t place) {
    std::scoped_lock lock(mutex);
    const auto& of = rows[sink];
    const auto at = of.find({stream, place});
    return at == of.end() ? 0 : at->second;
  }
  std::uint64_t distinct(const std::string& sink) {
    std::scoped_lock lock(mutex);
    return rows[sink].size();
  }
  int most(const std::string& sink) {
    std::scoped_lock lock(mutex);
    int n = 0;
    for (const auto& [place, count] : rows[sink]) n = std::max(n, count);
    return n;
  }
};

struct world {
  fake_broker broker;
  fake_database database;
  std::mutex mutex;
  std::map<std::string, std::map<std::pair<std::string, std::uint64_t>, int>>
      dead_letters;  // by place; "" as the only key
};

// Worlds by name: the configuration is the only way to pass anything to a component.
std::shared_ptr<world> world_named(const std::string& name);
std::shared_ptr<world> new_world(const std::string& name);

// Source exact_source, transform every_tenth (counts the records of a stream and passes every tenth), sinks exact_sink
// and exact_dead; each with an option `world`.
const pl_plugin& exact_plugin();

}  // namespace pl::engine::test
