// SPDX-License-Identifier: Apache-2.0
// A broker and a database in memory, and components over them, for tests of exactly once: several pipelines may work on
// them at once, and what a call does can be made to fail, or to seem to fail.
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

// One topic, whose partitions are handed out by the test itself: to the pipeline that started last.
struct fake_broker {
  struct partition {
    std::uint64_t end = 0, committed = 0;
    bool has_committed = false, marked = false;
    std::uint64_t owner = 0;  // the source instance that has it, 0: nobody
  };
  std::mutex mutex;
  std::map<std::string, partition> partitions;
  std::uint64_t members = 0;

  void reset(const std::string& stream, std::uint64_t to) {  // as the standard tool does: without our mark
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
      state;                                                                         // sink, stream, node, key
  std::map<std::string, std::map<std::pair<std::string, std::uint64_t>, int>> rows;  // sink: place: how often
  std::uint64_t writes = 0, fenced = 0;

  // Before a write: fails it. After it was committed: its answer is lost.
  std::function<bool(std::uint64_t write)> away, lose_reply;
  std::function<bool(std::string_view text)> refuse;  // a row that it can't store
  bool mute = false;                                  // says no positions

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
  std::map<std::string, std::map<std::pair<std::string, std::uint64_t>, int>> letters;  // by place; "" as the only key
};

// By the name that the configuration gives.
std::shared_ptr<world> world_named(const std::string& name);
std::shared_ptr<world> new_world(const std::string& name);

// Source exact_source, transform every_tenth (remembers how many records it has seen, and passes each tenth), sinks
// exact_sink and exact_dead; each with an option `world`.
const pl_plugin& exact_plugin();

}  // namespace pl::engine::test
