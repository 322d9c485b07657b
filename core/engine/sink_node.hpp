// SPDX-License-Identifier: Apache-2.0
// A sink of a pipeline: its writers, each an instance with a queue and a thread of its own.
#pragma once

#include "engine/backoff.hpp"
#include "engine/dead_letters.hpp"
#include "engine/instance.hpp"
#include "engine/node_meters.hpp"
#include "engine/node_state.hpp"
#include "engine/write_queue.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace pl::engine {

class sink_node;

// What a lane or a writer tells its pipeline. Any thread.
class pipeline_events {
 public:
  virtual ~pipeline_events() = default;
  // A node can't go on without a change by a person: the pipeline stops, and what is in flight stays unsettled.
  virtual void node_failed(std::string_view node, std::string_view why) = 0;
  // Rows that a node rejected, on their way to the dead letters.
  virtual void rows_rejected(const std::vector<rejection>& rejected, std::string_view node) = 0;
  // The same, and waits until they are there. False: `give_up` said so first.
  virtual bool bury_rows(std::vector<rejection> rejected, std::string_view node,
                         const std::function<bool()>& give_up) = 0;
};

// Writes what waits in one queue, again and again until it is taken; finds rows that are refused by halving.
class writer {
 public:
  writer(std::unique_ptr<instance> sink, const config::node& settings, std::shared_ptr<node_meters> meters,
         block_pool& pool);
  ~writer();
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;

  void start(std::atomic<pipeline_events*>& events);
  void join();

  [[nodiscard]] write_queue& queue() noexcept { return queue_; }
  [[nodiscard]] instance& sink() noexcept { return *sink_; }
  [[nodiscard]] const node_state& state() const noexcept { return state_; }

 private:
  using group = std::vector<batch_ref>;

  void run();
  bool connect();
  bool write(group batches);
  bool halve(group batches, const outcome& refused);
  bool fence(const group& batches, const outcome& why);
  bool bury(group& batches, std::vector<rejection> rejected);
  bool accept(const group& batches, yield& left);
  bool come_again(const outcome& failed, backoff& pause);
  bool fail(const group& batches, std::string_view why);
  void count_queue() { meters_->queue_bytes.set(static_cast<double>(queue_.bytes())); }

  std::unique_ptr<instance> sink_;
  const config::retry_settings retry_;
  std::shared_ptr<node_meters> meters_;
  block_pool& pool_;
  write_queue queue_;
  node_state state_;
  std::atomic<pipeline_events*>* events_ = nullptr;
  std::thread thread_;
};

class sink_node {
 public:
  // writers: created instances, one each.
  sink_node(const config::node& settings, std::vector<std::unique_ptr<instance>> writers, services common,
            block_pool& pool);
  ~sink_node();

  void start();
  // Batches that belong together, from one lane. Batches of one stream reach the same writer, in order.
  void push(std::vector<batch_ref> group);
  [[nodiscard]] bool full() const;

  void hurry(bool on);
  void abandon();  // no more tries; what isn't written stays unsettled
  void finish();   // writes what waits, then ends the threads

  void report_to(pipeline_events& events) noexcept { events_ = &events; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] node_meters& meters() noexcept { return *meters_; }
  [[nodiscard]] instance& first() noexcept { return writers_.front()->sink(); }
  [[nodiscard]] std::string waiting_for() const;  // empty: all writers do their work

 private:
  bool split(batch_ref batch, std::vector<std::vector<batch_ref>>& to);

  std::string name_;
  block_pool& pool_;
  std::shared_ptr<node_meters> meters_;
  std::vector<std::unique_ptr<writer>> writers_;
  std::atomic<pipeline_events*> events_{nullptr};
  bool started_ = false;
};

}  // namespace pl::engine
