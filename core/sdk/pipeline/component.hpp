// SPDX-License-Identifier: Apache-2.0
// Base classes for components. Derive from source, transform or sink; give the class
//
//   struct options { ...; static pl::option_table<options> table(); };      see options.hpp
//   static pl::description describe();                                       name, doc, example, ports, abilities
//   my_sink(options, pl::context);                                           checks options; opens nothing
//
// and export it with PL_EXPORT (plugin.hpp). The host calls one instance from one thread at a time. Exceptions are caught
// at the boundary and become a fatal status with their what().
#pragma once

#include <pipeline/abi.h>
#include <pipeline/batch.hpp>
#include <pipeline/context.hpp>
#include <pipeline/options.hpp>
#include <pipeline/result.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace pl {

// Thrown by a constructor whose options don't fit together, after context::option_error, or with the one message.
class invalid_options : public std::exception {
 public:
  invalid_options() = default;  // everything was said through context::option_error
  invalid_options(std::string option, std::string message) : option_(std::move(option)), message_(std::move(message)) {}
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }
  [[nodiscard]] const std::string& option() const noexcept { return option_; }

 private:
  std::string option_, message_;
};

// What a component says of itself. Strings must be literals.
struct description {
  std::string_view name;                          // snake_case, as in `plugin:`
  std::string_view doc;                           // first line: a summary
  std::string_view example;                       // YAML of one node
  std::vector<std::string_view> ports = {"out"};  // of sources and transforms
  std::uint32_t abilities = 0;                    // PL_REPLAYABLE | PL_TRANSACTIONAL | ...
};

// Which columns go in and come out, where a component can say it before data flows (`validate` finds misspelt columns).
class columns_aware {
 public:
  virtual ~columns_aware() = default;
  // The schema emitted on `port` for input `in` (null where unknown); null: not known beforehand. Sinks return null. A
  // column that is needed and missing: bad_option("columns.temp", "no column 'temp' comes in; ...").
  virtual result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) = 0;
};

// A sink that keeps positions and state in its own transactions: "store/1" in abi.h, which says what `write` must do then.
// These functions are called on an instance of their own, which is never started: it connects when it is first asked.
class position_store {
 public:
  virtual ~position_store() = default;
  virtual result<pl_position> position(std::string_view source, std::string_view stream) = 0;
  // True: claimed, and what `mark` asks for done in the same transaction. False: it wasn't as seen any more.
  virtual result<bool> claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                             const pl_mark& mark) = 0;
  using entry = std::function<void(std::string_view node, std::string_view key, std::string_view value)>;
  virtual result<void> load(std::string_view source, std::string_view stream, const entry& each) = 0;
};

// A transform that remembers: "state/1" in abi.h. It puts its changes with context::put.
class stateful {
 public:
  virtual ~stateful() = default;
  virtual result<void> restore(std::string_view stream, std::string_view key, std::string_view value) = 0;
  // That was all of it. moved: a person sent the stream elsewhere; all that comes is new, whatever its positions.
  virtual result<void> restored(std::string_view /*stream*/, bool /*moved*/) { return {}; }
  virtual result<void> snapshot(std::string_view stream) = 0;
};

// A source whose past can be read once more, beside what it reads now: "replay/1" in abi.h. These functions are called on an
// instance that is not started, which connects when it is first asked.
class replayable {
 public:
  virtual ~replayable() = default;
  // A window of a stream: [first, next) of what is there, [oldest, newest).
  struct window {
    std::string stream;
    std::uint64_t first, next, oldest, newest;
  };
  virtual result<std::vector<window>> windows(pl_bound from, pl_bound until) = 0;
  // `start` then opens these alone; poll ends with end_of_stream(), and nothing is noted of it.
  virtual result<void> choose(std::vector<window> windows) = 0;
  // Whoever reads the streams next begins at `first`. Not while somebody reads them.
  virtual result<void> order(const std::vector<window>& windows) = 0;
};

// A sink that can say whether, with its configuration, records can be written again and are there once: "rewrite/1".
class rewritable {
 public:
  virtual ~rewritable() = default;
  // bad_option("conflict", "..."): what would make it so.
  virtual result<void> may_rewrite() = 0;
};

class component {
 public:
  virtual ~component() = default;
  component() = default;
  component(const component&) = delete;
  component& operator=(const component&) = delete;

  virtual result<void> check() { return {}; }  // does the world fit? Changes nothing
  virtual result<void> start() { return {}; }  // connects; retry(...): later
  virtual result<void> stop() { return {}; }   // flushes, disconnects
};

struct poll_request {
  std::uint32_t max_rows;            // 0: no room; keep-alive only
  std::size_t max_bytes;             // of payload, about
  std::chrono::nanoseconds timeout;  // how long to wait for the first row at most
};

class source : public component {
 public:
  // A batch; or nothing_yet(), end_of_stream(), retry(...), fatal(...).
  virtual result<batch> poll(const poll_request& request) = 0;
  // The next poll reads `stream` from `next`.
  virtual result<void> seek(std::string_view /*stream*/, std::uint64_t /*next*/) {
    return fatal("this source can't go back");
  }
  // Everything below next of each range's stream is delivered.
  virtual void settle(std::span<const pl_range> /*ranges*/) {}
};

// Where a transform's output goes. Valid during the call that brought it.
class emitter {
 public:
  emitter(const pl_host* host, void* to, pl_emit function) noexcept : host_(host), to_(to), emit_(function) {}
  void emit(batch b, std::uint32_t port = 0) { emit_(to_, port, b.release()); }
  void emit(batch_builder&& b, std::uint32_t port = 0) { emit(std::move(b).finish(), port); }
  void pass(batch_view borrowed, std::uint32_t port = 0) { emit(batch::retained(host_, borrowed), port); }  // as it is

 private:
  const pl_host* host_;
  void* to_;
  pl_emit emit_;
};

class transform : public component {
 public:
  virtual result<void> apply(batch_view in, emitter& out) = 0;
  virtual result<void> tick(timestamp /*now*/, emitter& /*out*/) { return {}; }  // about every 100 ms, wall clock
  virtual void drop(std::string_view /*stream*/) {}                              // the stream left this lane
};

// The batches of one write, for `for (pl::batch_view b : batches)`.
class batch_list {
 public:
  class iterator {
   public:
    explicit iterator(pl_batch* const* at) noexcept : at_(at) {}
    batch_view operator*() const noexcept { return batch_view{*at_}; }
    iterator& operator++() noexcept { return ++at_, *this; }
    bool operator==(const iterator&) const = default;

   private:
    pl_batch* const* at_;
  };
  batch_list(pl_batch* const* batches, std::uint32_t n) noexcept : batches_(batches), n_(n) {}
  [[nodiscard]] iterator begin() const noexcept { return iterator{batches_}; }
  [[nodiscard]] iterator end() const noexcept { return iterator{batches_ + n_}; }
  [[nodiscard]] std::uint32_t size() const noexcept { return n_; }
  [[nodiscard]] batch_view operator[](std::uint32_t i) const noexcept { return batch_view{batches_[i]}; }
  [[nodiscard]] std::uint32_t rows() const noexcept {  // selected, over all batches
    std::uint32_t n = 0;
    for (auto b : *this) n += b.selected();
    return n;
  }

 private:
  pl_batch* const* batches_;
  std::uint32_t n_;
};

class sink : public component {
 public:
  // All of it or nothing. retry(...): the same batches come again after a back-off. rejected(...): the host finds the bad
  // rows by halving. A sink that knows the bad row calls context::reject on it and writes the rest.
  virtual result<void> write(const batch_list& batches) = 0;
};

}  // namespace pl
